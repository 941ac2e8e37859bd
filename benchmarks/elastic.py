"""Time of the elastic deformation and of masked pairs, beside scipy's way and beside a Models Genesis pair.

    python -m benchmarks.elastic --sizes 128 --turns 5 --json

"scipy" is the published way: noise per voxel, smoothed by gaussian_filter for either axis, and map_coordinates.
"pair" is a mean Models Genesis pair, as in `benchmarks.pairs`: the cost of the other distortions. All take turns on one
thread of the CPU, so that what else runs on the machine meets all of them; a figure is the median of the turns, and the
ratios say more than the milliseconds. If there is a CUDA device, a batch of 2 on that as well.
"""

from __future__ import annotations

import argparse
import os
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.machine import add_report_flags, parse_size, report
from benchmarks.pairs import SEED, mean_ms, smooth_patch
from nnunet_genesis.config import MaskedConfig, MaskedGenesisConfig, ModelsGenesisConfig
from nnunet_genesis.machine import count_cores
from nnunet_genesis.pretraining.distortions.elastic import ALPHA, SIGMA, apply_elastic, sample_elastic
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.masked import Masked
from nnunet_genesis.pretraining.pretexts.masked_genesis import MaskedGenesis
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnunet_genesis.pretraining.pretexts.base import Pretext, RestorationPairs

INTENSITIES = IntensityRange((-1.5,), (2.5,), (False,))
CALLS_PER_TURN = {"pair": 16, "elastic": 8, "masked": 8, "masked-genesis": 16}
"""A pair's cost depends on which distortions it gets."""


def scipy_maker(size: tuple[int, ...]) -> Callable[[], object]:
    """The published deformation of one patch; axes in the plane are the last two."""
    rng = np.random.default_rng(SEED)
    patch = smooth_patch(size)[0].astype(np.float32)
    still = np.meshgrid(*(np.arange(side) for side in size), indexing="ij")

    def deform() -> object:
        y, x = (still[axis] + ALPHA * gaussian_filter(rng.uniform(-1, 1, size), SIGMA) for axis in (-2, -1))
        return map_coordinates(patch, [*still[:-2], y, x], order=1, mode="reflect")

    return deform


def elastic_maker(size: tuple[int, ...], batch_size: int, device: str) -> Callable[[], object]:
    """Our deformation, into memory that is there already."""
    generator = torch.Generator().manual_seed(SEED)
    patches, inside = _batch(size, batch_size, device)
    deformed = torch.empty_like(patches)
    return lambda: apply_elastic(patches, sample_elastic(batch_size, size, generator), inside, out=deformed)


def pair_maker(pretext: Pretext[Any], batch_size: int, device: str) -> Callable[[], object]:
    """The next batch of pairs of the same patches, in the memory of the previous ones, as the training loop does."""
    generator = torch.Generator().manual_seed(SEED)
    patches, inside = _batch(pretext.patch_size, batch_size, device)
    pairs: RestorationPairs | None = None

    def make() -> None:
        nonlocal pairs
        pairs = pretext.make_pairs(patches, inside, pretext.sample(batch_size, generator), out=pairs)

    return make


def _batch(size: tuple[int, ...], batch_size: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    patches = torch.from_numpy(smooth_patch(size) * 4 - 1.5).float().expand(batch_size, -1, *size)
    return patches.contiguous().to(device), torch.tensor([[0, side] for side in size]).expand(batch_size, -1, -1)


def our_makers(size: tuple[int, ...], batch_size: int, device: str) -> dict[str, Callable[[], object]]:
    """All of ours by name."""
    block = tuple(max(1, side // 4) for side in size)
    pretexts: dict[str, Pretext[Any]] = {
        "pair": ModelsGenesis(ModelsGenesisConfig(), size, INTENSITIES),
        "masked": Masked(MaskedConfig(), size, INTENSITIES, block),
        "masked-genesis": MaskedGenesis(MaskedGenesisConfig(), size, INTENSITIES, block),
    }
    makers = {name: pair_maker(pretext, batch_size, device) for name, pretext in pretexts.items()}
    return {**makers, "elastic": elastic_maker(size, batch_size, device)}


def measure(size: tuple[int, ...], turns: int) -> dict[str, float]:
    """Milliseconds per patch: medians over the turns."""
    actions = {name: (make, CALLS_PER_TURN[name], 1) for name, make in our_makers(size, 1, "cpu").items()}
    actions["scipy"] = (scipy_maker(size), 1, 1)
    if torch.cuda.is_available():
        for name, make in our_makers(size, 2, "cuda").items():
            actions[f"{name} gpu"] = (make, 4 * CALLS_PER_TURN[name], 2)
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(turns):
        for name, (make, calls, batch_size) in actions.items():
            times[name].append(mean_ms(make, calls, synchronize=name.endswith("gpu")) / batch_size)
    return {name: median(of_turns) for name, of_turns in times.items()}


def main() -> None:
    """Measure, and write a table and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["32x64x64", "16x320x320", "128", "160"])
    parser.add_argument("--turns", type=int, default=5)
    add_report_flags(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"load before: {', '.join(f'{load:.1f}' for load in os.getloadavg())} on {count_cores()} cores", ""]
    lines.append(f"{'size':>12} {'what':>20} {'ms':>9} {'/ pair':>8} {'scipy /':>8}")
    figures: dict[str, float] = {}
    for text in options.sizes:
        times = measure(parse_size(text), options.turns)
        for name, ms in times.items():
            key = f"{text}_{name.replace(' ', '_').replace('-', '_')}"
            pair = times["pair gpu" if name.endswith("gpu") else "pair"]
            figures |= {f"ms_{key}": ms, f"over_pair_{key}": ms / pair}
            faster = f"{times['scipy'] / ms:8.1f}" if name.startswith("elastic") else f"{'':>8}"
            lines.append(f"{text:>12} {name:>20} {ms:9.2f} {ms / pair:8.2f} {faster}")
        figures[f"speedup_{text}_elastic"] = times["scipy"] / times["elastic"]
    report("elastic", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
