"""Where patches lie: a source by its chance, a case of it, and a place that is not mostly background."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.foreground import foreground_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nnunet_genesis.pretraining.case_index import CaseIndex

MAX_TRIES = 16
"""Places looked at on the foreground map at most, before a patch is read; where none will do, the fullest is taken."""


def draw_case(
    indices: Sequence[CaseIndex], limits: npt.NDArray[np.float64], generator: np.random.Generator
) -> tuple[int, int]:
    """Draw a source and one of its cases.

    Args:
        indices: The cases of every source.
        limits: Chances of the sources, added up.
        generator: Decides.

    Returns:
        Number of the source, number of the case in it.
    """
    source = min(int(np.searchsorted(limits, generator.random(), side="right")), len(indices) - 1)
    return source, int(generator.integers(len(indices[source])))


def draw_first_voxels(
    shape: Sequence[int], size: Sequence[int], generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """First voxels of `MAX_TRIES` patches by nnU-Net's rule: pad on both sides where the case is too short."""
    missing = [max(0, side - length) for length, side in zip(shape, size, strict=True)]
    lowest = [-count // 2 for count in missing]
    highest = [length + count // 2 + count % 2 - side for length, side, count in zip(shape, size, missing, strict=True)]
    return generator.integers(lowest, np.array(highest) + 1, size=(MAX_TRIES, 3))


def foreground_inside(
    cells: npt.NDArray[np.uint8], shape: Sequence[int], first_voxels: npt.NDArray[np.int64], size: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Estimate how much of patches is foreground, padding left aside.

    Args:
        cells: Foreground map of the case.
        shape: Voxels of the case per axis.
        first_voxels: (patches, 3).
        size: Voxels of a patch per axis.

    Returns:
        (patches,) shares.
    """
    inside = math.prod(min(length, side) for length, side in zip(shape, size, strict=True))
    return foreground_shares(cells, shape, first_voxels, size) * math.prod(size) / inside


def choose(shares: npt.NDArray[np.float64], max_background_share: float) -> int:
    """The first place with little enough background; where there is none, the fullest."""
    good = shares >= 1 - max_background_share
    return int(good.argmax() if good.any() else shares.argmax())
