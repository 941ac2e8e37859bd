"""Cut a crop straight from a preprocessed file, at its own resolution or resized; only what is needed is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from nnunet_genesis.errors import DataError
from nnunet_genesis.pretraining.case_files import open_case, read_part
from nnunet_genesis.pretraining.resampling import coarsened_weights, reach, resample, resampling_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.pretraining.resampling import Coarsening

Inside = list[tuple[int, int]]


def read_crop(
    file: Path, shape: Sequence[int], first: Sequence[int], size: Sequence[int]
) -> tuple[torch.Tensor, Inside]:
    """Cut voxels as they are.

    Args:
        file: Preprocessed case.
        shape: Its voxels per axis (z, y, x).
        first: First voxel per axis, negative where the crop begins outside of the case.
        size: Voxels per axis.

    Returns:
        (channels, *size) float32, zero outside of the case, and per axis the first voxel in the crop that is inside of
        it, and the one after the last; (0, 0) on all axes where the crop misses the case.

    Raises:
        DataError: If the file cannot be read.
    """
    inside = [
        (min(max(0, -start), side), max(0, min(side, length - start)))
        for length, start, side in zip(shape, first, size, strict=True)
    ]
    part = [slice(start + a, start + b) for start, (a, b) in zip(first, inside, strict=True)]
    return _place(file, shape, inside, size, part, weights=None)


def read_resized(
    file: Path,
    shape: Sequence[int],
    start: Sequence[float],
    cell: Sequence[float],
    size: Sequence[int],
    *,
    coarsening: Sequence[Coarsening | None] | None = None,
) -> tuple[torch.Tensor, Inside]:
    """Cut a part and resize it, linearly and anti-aliased where it shrinks.

    Args:
        file: Preprocessed case.
        shape: Its voxels per axis (z, y, x).
        start: Where the crop begins, in voxels from the edge of the first one.
        cell: Voxels of the case per voxel of the crop.
        size: Voxels of the crop per axis.
        coarsening: Per axis how it loses its finer detail in the same step, None where it does not.

    Returns:
        As `read_crop`; a voxel of the crop is inside where all that it covers is.
    """
    inside = [
        (min(max(0, math.ceil(-begin / step - 1e-9)), side), max(0, min(side, math.floor((n - begin) / step + 1e-9))))
        for n, begin, step, side in zip(shape, start, cell, size, strict=True)
    ]
    voxels, weights = [], []
    for axis, length in enumerate(shape):
        grid, coarse = (start[axis], cell[axis], size[axis]), coarsening[axis] if coarsening else None
        voxels.append(reach(*grid, length, coarsening=coarse))
        if coarse is None:
            weights.append(resampling_weights(*grid, voxels[-1]))
        else:
            weights.append(coarsened_weights(*grid, coarse, voxels[-1]))
    return _place(file, shape, inside, size, [slice(one.start, one.stop) for one in voxels], weights=weights)


def _place(
    file: Path,
    shape: Sequence[int],
    inside: Inside,
    size: Sequence[int],
    part: list[slice],
    *,
    weights: list[torch.Tensor] | None,
) -> tuple[torch.Tensor, Inside]:
    array = open_case(file)
    if tuple(array.shape[1:]) != tuple(shape):
        raise DataError(
            f"the preprocessed case has {array.shape[1:]} voxels, it had {tuple(shape)}",
            where=file,
            mend="run the command again, which reads changed cases anew",
        )
    if any(stop <= first for first, stop in inside):
        return torch.zeros((array.shape[0], *size)), [(0, 0)] * len(size)
    image = torch.from_numpy(read_part(array, (slice(None), *part), file))
    box = (slice(None), *(slice(first, stop) for first, stop in inside))
    if weights is not None:
        # Resized first: voxels that are partly outside hold values, and are made padding below.
        image = resample(image, [one[first:stop] for one, (first, stop) in zip(weights, inside, strict=True)])
    if image.shape[1:] == torch.Size(size):
        return image.contiguous(), inside
    padded = torch.zeros((image.shape[0], *size))
    padded[box] = image
    return padded, inside


def as_tensor(inside: Inside, axes: int) -> torch.Tensor:
    """The last axes of a box as (axes, 2) int64."""
    return torch.from_numpy(np.array(inside[-axes:], dtype=np.int64))
