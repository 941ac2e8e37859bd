"""Where batches come from: patches per second from .b2nd files, what is decompressed for them, and what care costs.

    python -m benchmarks.reading --patches 40x56x40 128 16x320x320 --json

Scans are CT-like (a body in air), of 1.5 x 2.5 x 2.5 patches, written by nnU-Net in its own blocks and compression. The
files are in the system's cache, so that this is the cost of decompression and copying, not of a disk.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from typing import TYPE_CHECKING

import blosc2
import numpy as np

from benchmarks.machine import add_report_flags, parse_size, report
from benchmarks.workload import all_patches, written_dataset
from nnunet_genesis.pretraining.case_files import find_case_file
from nnunet_genesis.pretraining.data import PatchDataset, StepSampler, build_loader

if TYPE_CHECKING:
    from nnunet_genesis.plans import PlannedConfiguration

SEED = 0
LOADER_PATCHES = 200


def decompressed_over_patch(planned: PlannedConfiguration) -> float:
    """Mean bytes of the blocks that a patch touches over its own bytes, over random places of the first case."""
    array = blosc2.open(str(find_case_file(planned.cases_folder, "case_000")), mode="r")
    blocks, chunks = array.blocks[1:], array.chunks[1:]
    rng = np.random.default_rng(SEED)
    ratios = []
    for _ in range(1000):
        touched = 1
        for side, block, chunk, length in zip(planned.patch_size, blocks, chunks, array.shape[1:], strict=True):
            first = int(rng.integers(0, length - side + 1))
            # Blocks start anew in every chunk, so that the last one of a chunk may be cut.
            borders = [
                start + inner
                for start in range(0, length, chunk)
                for inner in range(0, min(chunk, length - start), block)
            ]
            touched *= sum(border < first + side and border + block > first for border in borders) * block
        ratios.append(touched / math.prod(planned.patch_size))
    return float(np.mean(ratios))


def patches_per_second(dataset: PatchDataset, workers: int) -> float:
    """Patches from disk per second, by this process (0) or by loader processes."""
    loader = build_loader(dataset, StepSampler(0, 20 + LOADER_PATCHES, 1), workers=workers, pin_memory=False)
    for number, _ in enumerate(loader):
        if number == 19:
            start = time.perf_counter()
    return LOADER_PATCHES / (time.perf_counter() - start)


def measure_reading(patch: str, figures: dict[str, float]) -> list[str]:
    """Patches per second from scans of 1.5 to 3 patches per axis."""
    size = parse_size(patch)
    shape = tuple(int(side * factor) for side, factor in zip(size, (1.5, 2.5, 2.5), strict=True))
    lines = []
    with written_dataset(shape, size) as planned:
        avoiding = all_patches(planned)
        anything = all_patches(planned, max_background_share=1.0)
        # Patches larger than the scan along the first axis by a half, so that a third of them is padding.
        taller = (int(shape[0] * 1.5), *size[1:])
        rates = {
            "one process": patches_per_second(avoiding, 0),
            "one process, background as it comes": patches_per_second(anything, 0),
            **{f"{count} worker(s)": patches_per_second(avoiding, count) for count in (1, 2)},
        }
        whole = patches_per_second(all_patches(planned, max_background_share=1.0, patch_size=(shape[0], *size[1:])), 0)
        padded = patches_per_second(all_patches(planned, max_background_share=1.0, patch_size=taller), 0)
        ratio = decompressed_over_patch(planned)
    lines.append(f"patch {patch} from scans of {'x'.join(map(str, shape))}:")
    lines += [f"{name:>38}: {rate:8.1f} patches/s, {1000 / rate:6.2f} ms each" for name, rate in rates.items()]
    background = rates["one process, background as it comes"] / rates["one process"]
    lines += [
        f"{'decompressed over patch':>38}: {ratio:8.2f}",
        f"{'cost of avoiding background':>38}: {background:8.2f} times the time of a patch",
        f"{'cost of padding':>38}: {whole / padded:8.2f} times the time of the same voxels in a whole patch",
        "",
    ]
    figures |= {
        f"patches_per_second_{patch}_worker": rates["1 worker(s)"],
        f"patches_per_second_{patch}_process": rates["one process"],
        f"decompressed_over_patch_{patch}": ratio,
        f"background_cost_{patch}": background,
        f"padding_cost_{patch}": whole / padded,
    }
    return lines


def main() -> None:
    """Measure, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", nargs="+", default=["40x56x40", "128", "16x320x320"])
    add_report_flags(parser)
    options = parser.parse_args()
    figures: dict[str, float] = {}
    lines = list(itertools.chain.from_iterable(measure_reading(patch, figures) for patch in options.patches))
    report("reading", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
