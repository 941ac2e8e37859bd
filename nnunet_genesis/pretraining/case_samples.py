"""A sample of voxels, from which the range of intensities is measured."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.case_files import read_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.sources import Source

SAMPLED_CASES = 64
"""Cases whose voxels are sampled."""
SAMPLED_VOXELS = 20_000
"""Voxels per sampled case."""


def sample_intensities(
    sources: Sequence[Source], generator: np.random.Generator, *, workers: int = 1
) -> list[npt.NDArray[np.float32]]:
    """Draw voxels from up to `SAMPLED_CASES` training cases, more from sources that are drawn from more often.

    Args:
        sources: Where pretraining draws from.
        generator: Decides which cases and voxels.
        workers: Threads that read.

    Returns:
        One (channels, voxels) array per sampled case.
    """
    files = []
    for source in sources:
        wanted = max(1, round(SAMPLED_CASES * source.chance))
        count = min(len(source.train), wanted)
        chosen = sorted(generator.choice(len(source.train), count, replace=False).tolist())
        files += [source.train.file(number) for number in chosen]
    seeds = generator.integers(1 << 62, size=len(files)).tolist()

    with ThreadPoolExecutor(max(1, workers)) as pool:  # decompression releases the interpreter lock
        return list(pool.map(_sample, files, seeds))


def _sample(file: Path, seed: int) -> npt.NDArray[np.float32]:
    image = read_whole(file)
    voxels = image.reshape(image.shape[0], -1)
    generator = np.random.default_rng(seed)
    drawn = generator.choice(voxels.shape[1], min(SAMPLED_VOXELS, voxels.shape[1]), replace=False)
    sampled: npt.NDArray[np.float32] = voxels[:, drawn]
    return sampled
