"""Time to make one Models Genesis pair beside the plain reference of the tests, whole and per distortion.

    python -m benchmarks.pairs --sizes 128 160 --repeats 5 --json

The reference is the loop implementation that the tests judge the package by (10,000 shuffling windows, the curve by a
table of 100,000 points, painting). The floor reads the patch and writes it once, into memory that is there already,
and draws the random bits that the noise of a mean pair needs. Everything on one thread of the CPU; if there is a CUDA
device, a batch of 2 on that as well. "pair" has the published probabilities; the single distortions always happen, and
their time includes making the target.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from benchmarks.charts import draw_pairs
from benchmarks.machine import RESULTS, add_report_flags, parse_size, report
from nnunet_genesis.config import ModelsGenesisConfig
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from tests.pretraining.distortions import reference

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from nnunet_genesis.pretraining.pretexts.base import RestorationPairs

    FloatArray = npt.NDArray[np.float64]

SEED = 0
PAIRS_PER_REPEAT = 8
NOTHING = ModelsGenesisConfig(
    mirror_probability=0, shuffling_probability=0, intensity_probability=0, painting_probability=0
)
CONFIGS = {
    "pair": ModelsGenesisConfig(),
    "mirroring": replace(NOTHING, mirror_probability=1),
    "shuffling": replace(NOTHING, shuffling_probability=1),
    "intensity": replace(NOTHING, intensity_probability=1),
    "painting": replace(NOTHING, painting_probability=1),
}
PAINTED_SHARE = {"pair": 0.49, "painting": 0.55}
"""Mean share of the voxels that become noise; the rest need no random numbers."""


def mean_ms(action: Callable[[], object], repeats: int, *, synchronize: bool = False) -> float:
    """Mean wall time in milliseconds after two unmeasured calls: a pair's cost depends on which distortions it gets."""
    action()
    action()
    if synchronize:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    if synchronize:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start) / repeats


@cache
def smooth_patch(size: tuple[int, ...]) -> FloatArray:
    """A patch (1, *size) in [0, 1] whose neighbours are alike, as in scans: both sides look up tables in it."""
    patch = gaussian_filter(np.random.default_rng(SEED).normal(size=(1, *size)), sigma=(0, *[2] * len(size)))
    low, high = np.percentile(patch, (0.5, 99.5))
    return np.asarray(((patch - low) / (high - low)).clip(0, 1), dtype=np.float64)


def pair_maker(size: tuple[int, ...], config: ModelsGenesisConfig, batch_size: int, device: str) -> Callable[[], None]:
    """A function that makes the next batch of pairs from the same patches, as the training loop does."""
    pretext = ModelsGenesis(config, size, IntensityRange((-1.5,), (2.5,), (False,)))
    generator = torch.Generator().manual_seed(SEED)
    patches = torch.from_numpy(smooth_patch(size) * 4 - 1.5).float().expand(batch_size, -1, *size).to(device)
    inside = torch.tensor([[0, side] for side in size]).expand(batch_size, -1, -1)
    pairs: RestorationPairs | None = None

    def make() -> None:
        nonlocal pairs
        pairs = pretext.make_pairs(patches, inside, pretext.sample(batch_size, generator), out=pairs)

    return make


def reference_maker(size: tuple[int, ...], operation: str) -> Callable[[], FloatArray]:
    """The same by the plain loops, in the published order and with the published chances."""
    rng = np.random.default_rng(SEED)
    clean = smooth_patch(size)

    def noise_in(patch: FloatArray) -> FloatArray:
        _, painted = reference.paint(patch.shape[1:], rng)
        return np.where(painted, rng.random(patch.shape), patch)

    def pair() -> FloatArray:
        patch, _ = reference.mirror(clean, rng)
        if rng.random() < 0.5:
            patch = reference.shuffle(patch, rng)
        if rng.random() < 0.9:
            patch = reference.bezier(patch, rng.random((2, 2)), decreasing=rng.random() < 0.5)
        return noise_in(patch)

    def mirror() -> FloatArray:
        return reference.mirror(clean, rng)[0].copy()

    return {
        "pair": pair,
        "mirroring": mirror,
        "shuffling": lambda: reference.shuffle(clean, rng),
        "intensity": lambda: reference.bezier(clean, rng.random((2, 2)), decreasing=False),
        "painting": lambda: noise_in(clean),
    }[operation]


def floor_maker(size: tuple[int, ...], operation: str) -> Callable[[], None]:
    """Reading and writing the patch, and the random bits of the noise."""
    patch = torch.zeros(1, 1, *size)
    result = torch.zeros_like(patch)
    rng = np.random.Generator(np.random.SFC64(SEED))
    words = int(PAINTED_SHARE.get(operation, 0) * patch.numel()) // 4

    def touch() -> None:
        result.copy_(patch)
        for start in range(0, words, 1 << 14):
            rng.integers(0, 1 << 64, size=min(1 << 14, words - start), dtype=np.uint64)

    return touch


def measure(size: tuple[int, ...], repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds per pair for every operation, by every maker."""
    times = {}
    pairs = PAIRS_PER_REPEAT * repeats
    for operation, config in CONFIGS.items():
        times[operation] = {
            "reference": mean_ms(reference_maker(size, operation), pairs if operation == "pair" else repeats),
            "cpu": mean_ms(pair_maker(size, config, 1, "cpu"), 2 * pairs),
            "floor": mean_ms(floor_maker(size, operation), 2 * pairs),
        }
        if torch.cuda.is_available():
            make = pair_maker(size, config, 2, "cuda")
            times[operation]["gpu"] = mean_ms(make, 2 * pairs, synchronize=True) / 2
    return times


def main() -> None:
    """Measure, and write a table, a chart and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["64x64x32", "16x320x320", "128", "160"])
    parser.add_argument("--repeats", type=int, default=5, help=f"times {PAIRS_PER_REPEAT} pairs (default: 5)")
    add_report_flags(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"{'size':>12} {'operation':>10} {'reference ms':>13} {'CPU ms':>8} {'floor ms':>9}"
        f" {'speed-up':>9} {'x floor':>8} {'GPU ms':>8}"
    ]
    figures: dict[str, float] = {}
    times = {}
    for text in options.sizes:
        times[text] = measure(parse_size(text), options.repeats)
        for operation, ms in times[text].items():
            key = text if operation == "pair" else f"{text}_{operation}"
            speedup, floor_ratio = ms["reference"] / ms["cpu"], ms["cpu"] / ms["floor"]
            figures |= {f"ms_{key}_{maker}": value for maker, value in ms.items()}
            figures |= {f"speedup_{key}_cpu": speedup, f"floor_ratio_{key}_cpu": floor_ratio}
            gpu = f"{ms['gpu']:8.3f}" if "gpu" in ms else f"{'none':>8}"
            lines.append(
                f"{text:>12} {operation:>10} {ms['reference']:13.1f} {ms['cpu']:8.2f} {ms['floor']:9.3f}"
                f" {speedup:9.1f} {floor_ratio:8.1f} {gpu}"
            )
    report("pairs", "\n".join(lines), figures, save=options.save, as_json=options.json)
    if options.save:
        draw_pairs(RESULTS / "pairs.png", times)


if __name__ == "__main__":
    main()
