"""How the cost of a pair grows: time over voxels and over the batch size, and memory beside the batch.

    python -m benchmarks.scaling --sizes 32 48 64 96 128 160 192 --batches 1 2 4 8 --json

Time is that of whole Models Genesis pairs with the published probabilities, on one thread, or on a CUDA device where
there is one. It is compared with a + b * voxels, fitted to the logarithms. Memory is the growth of the process's peak
resident memory (on CUDA: of the device's peak) while pairs are made into new memory, over the size of the batch; the
pairs themselves, input and target, are two batches of it.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import least_squares

from benchmarks.charts import draw_scaling
from benchmarks.machine import RESULTS, add_report_flags, parse_size, report
from benchmarks.pairs import CONFIGS, SEED, mean_ms, pair_maker
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis

PAIRS = 60
"""Per size; half of all pairs are shuffled, so that fewer would be a matter of luck."""


def affine_fit(voxels: list[int], times: list[float]) -> tuple[float, float]:
    """Fixed cost (ms) and cost per voxel (ns) that come closest to the measured times, as ratios."""

    def log_ratio(logs: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        fixed, per_voxel = np.exp(logs)
        return np.asarray(np.log((fixed + per_voxel * np.array(voxels) * 1e-6) / np.array(times)))

    fixed, per_voxel = np.exp(least_squares(log_ratio, np.log([1.0, 5.0])).x).tolist()
    return fixed, per_voxel


def peak_over_batch(size: tuple[int, ...], batch_size: int, device: str) -> float:
    """Largest memory that making pairs takes, the pairs included, over the size of the batch."""
    pretext = ModelsGenesis(CONFIGS["pair"], size, IntensityRange((-1.5,), (2.5,), (False,)))
    patches = torch.zeros(batch_size, 1, *size, device=device)
    inside = torch.tensor([[0, side] for side in size]).expand(batch_size, -1, -1)
    batch_bytes = patches.numel() * patches.element_size()
    generator = torch.Generator().manual_seed(SEED)
    start = resident_bytes("VmRSS")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
    for _ in range(10):
        pretext.make_pairs(patches, inside, pretext.sample(batch_size, generator))
    end = torch.cuda.max_memory_allocated() if device == "cuda" else resident_bytes("VmHWM")
    return (end - start) / batch_bytes


def resident_bytes(entry: str) -> int:
    """This process's resident memory now ("VmRSS") or at its peak ("VmHWM"); Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(entry))


def peak_in_new_process(size: str, batch_size: int, device: str) -> float:
    """The same, measured in a process that has not touched more memory before."""
    code = (
        "import torch; torch.set_num_threads(1); from benchmarks.machine import parse_size;"
        f"from benchmarks.scaling import peak_over_batch; parse = parse_size({size!r});"
        f"peak_over_batch((32, 32, 32), 1, {device!r}); print(peak_over_batch(parse, {batch_size}, {device!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure, and write tables, a chart and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["32", "48", "64", "96", "128", "160", "192"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8], help="of patches of 96^3")
    add_report_flags(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    synchronize = device == "cuda"
    by_size = {}
    for text in options.sizes:
        make = pair_maker(parse_size(text), CONFIGS["pair"], 1, device)
        by_size[text] = (math.prod(parse_size(text)), mean_ms(make, PAIRS, synchronize=synchronize))
    by_batch = []
    for batch_size in options.batches:
        make = pair_maker((96, 96, 96), CONFIGS["pair"], batch_size, device)
        by_batch.append((batch_size, mean_ms(make, PAIRS // batch_size + 1, synchronize=synchronize) / batch_size))
    voxels, times = (list(column) for column in zip(*by_size.values(), strict=True))
    fixed, per_voxel = affine_fit(voxels, times)
    figures = {"fixed_ms": fixed, "ns_per_voxel": per_voxel}
    lines = [f"on {device}: {fixed:.2f} ms + {per_voxel:.2f} ns per voxel", ""]
    lines += [f"{'size':>6} {'voxels':>9} {'ms':>8} {'ns/voxel':>9} {'over the line':>14}"]
    for text, (count, ms) in by_size.items():
        over = ms / (fixed + per_voxel * count * 1e-6)
        lines.append(f"{text:>6} {count:9d} {ms:8.2f} {1e6 * ms / count:9.2f} {over:14.2f}")
        figures |= {f"ms_{text}_{device}": ms, f"over_line_{text}_{device}": over}
    lines += ["", f"{'batch':>6} {'ms per patch of 96^3':>21}"]
    for batch_size, ms in by_batch:
        lines.append(f"{batch_size:6d} {ms:21.2f}")
        figures[f"ms_96_batch_{batch_size}_{device}"] = ms
    lines += ["", f"{'size':>6} {'batch':>6} {'peak memory over batch':>23}"]
    for text, batch_size in (("128", 2), ("160", 2), ("128", 8)):
        peak = peak_in_new_process(text, batch_size, device)
        lines.append(f"{text:>6} {batch_size:6d} {peak:23.2f}")
        figures[f"peak_over_batch_{text}_batch_{batch_size}_{device}"] = peak
    report("scaling", "\n".join(lines), figures, save=options.save, as_json=options.json)
    if options.save:
        draw_scaling(RESULTS / "scaling.png", by_size, by_batch)


if __name__ == "__main__":
    main()
