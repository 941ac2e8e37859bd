"""A sample of voxels, from which the range of intensities is measured."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.case_files import open_case, read_part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.case_files import CaseArray
    from nnunet_genesis.pretraining.sources import Source

SAMPLED_CASES = 64
"""Cases whose voxels are sampled."""
SAMPLED_VOXELS = 20_000
"""Voxels per sampled case."""
LARGE_CASE = 4_000_000
"""Cases of more voxels are not read whole."""
CUBE_SIDE = 9
"""Voxels along the sides of the cubes that are read of a large case."""


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
    """Draw voxels from anywhere in a small case, from cubes at random places in a large one."""
    generator = np.random.default_rng(seed)
    array = open_case(file)
    if math.prod(array.shape[1:]) > LARGE_CASE:
        cubes = [_read_cube(array, file, generator) for _ in range(SAMPLED_VOXELS // CUBE_SIDE**3)]
        return np.concatenate(cubes, axis=1)
    whole = read_part(array, tuple(slice(None) for _ in array.shape), file)
    voxels = whole.reshape(whole.shape[0], -1)
    drawn = generator.choice(voxels.shape[1], min(SAMPLED_VOXELS, voxels.shape[1]), replace=False)
    sampled: npt.NDArray[np.float32] = voxels[:, drawn]
    return sampled


def _read_cube(array: CaseArray, file: Path, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    part = [slice(None)]
    for side in array.shape[1:]:
        first = int(generator.integers(max(1, side - CUBE_SIDE + 1)))
        part.append(slice(first, first + CUBE_SIDE))
    return read_part(array, tuple(part), file).reshape(array.shape[0], -1)
