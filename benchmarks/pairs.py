"""Time to make one Models Genesis pair, on one CPU thread, beside the plain reference of the tests.

    python -m benchmarks.pairs --sizes 64x64x32 128 --repeats 5 --json

The reference is the loop implementation that the tests judge the package by (10,000 shuffling windows, the curve by a
table of 100,000 points, painting). The floor is a copy of the patch plus one uniform random number per voxel.
The last line of the output with --json is one JSON object of figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from nnunet_genesis.config import ModelsGenesisConfig
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from tests.pretraining.distortions import reference

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 0


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """Median wall time of an action in milliseconds, after one unmeasured call."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def mean_ms(action: Callable[[], object], repeats: int) -> float:
    """Mean wall time in milliseconds: a pair's cost depends on which distortions it gets."""
    action()
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    return 1000 * (time.perf_counter() - start) / repeats


def reference_pair(
    patch: np.ndarray[tuple[int, ...], np.dtype[np.float64]], rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Distort one (channels, *spatial) patch in [0, 1] with the plain loops, in the published order and chances."""
    patch, _ = reference.mirror(patch, rng)
    if rng.random() < 0.5:
        patch = reference.shuffle(patch, rng)
    if rng.random() < 0.9:
        patch = reference.bezier(patch, rng.random((2, 2)), decreasing=rng.random() < 0.5)
    _, painted = reference.paint(patch.shape[1:], rng)
    return np.where(painted, rng.random(patch.shape), patch)


def measure(size: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Milliseconds per pair at one patch size: ours, the reference, and the floor."""
    intensities = IntensityRange((-1.5,), (2.5,), (False,))
    pretext = ModelsGenesis(ModelsGenesisConfig(), size, intensities)
    generator = torch.Generator().manual_seed(SEED)
    patch = torch.randn(1, 1, *size, generator=generator)
    inside = torch.tensor([[[0, side] for side in size]])
    plain = np.clip((patch[0].double().numpy() + 1.5) / 4, 0, 1)
    rng = np.random.default_rng(SEED)

    def ours() -> object:
        return pretext.make_pairs(patch, inside, pretext.sample(1, generator))

    def loops() -> object:
        return reference_pair(plain, rng)

    def floor() -> object:
        return patch.clone().copy_(torch.rand(patch.shape, generator=generator))

    figures = {
        "ms_cpu": mean_ms(ours, 8 * repeats),
        "ms_reference": mean_ms(loops, repeats),
        "ms_floor": median_ms(floor, repeats),
    }
    figures["speedup_cpu"] = figures["ms_reference"] / figures["ms_cpu"]
    figures["floor_ratio_cpu"] = figures["ms_cpu"] / figures["ms_floor"]
    return figures


def parse_size(text: str) -> tuple[int, ...]:
    """Read "128" (a cube) or "64x64x32"."""
    sides = tuple(int(side) for side in text.split("x"))
    return sides * 3 if len(sides) == 1 else sides


def main() -> None:
    """Measure, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["64x64x32", "128"], help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    write = sys.stdout.write
    write(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread, seed {SEED}\n")
    write(f"{'size':>12} {'reference ms':>13} {'ours ms':>9} {'floor ms':>9} {'speed-up':>9} {'x floor':>8}\n")
    figures: dict[str, float] = {}
    for text in options.sizes:
        measured = measure(parse_size(text), options.repeats)
        write(
            f"{text:>12} {measured['ms_reference']:13.1f} {measured['ms_cpu']:9.2f} {measured['ms_floor']:9.2f}"
            f" {measured['speedup_cpu']:9.1f} {measured['floor_ratio_cpu']:8.1f}\n"
        )
        for name, value in measured.items():
            head, _, tail = name.partition("_")
            figures[f"{head}_{text}_{tail}" if head != "floor" else f"floor_ratio_{text}_cpu"] = round(value, 4)
    if options.json:
        write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
