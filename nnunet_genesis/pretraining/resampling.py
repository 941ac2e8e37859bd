"""Resize a part of an image to a fixed number of voxels: linear, anti-aliased where it shrinks, coarser if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

GAUSSIAN_REACH = 4.0
"""A Gaussian ends at so many times its width."""


def resampling_weights(start: float, cell: float, count: int, voxels: range) -> torch.Tensor:
    """Weights that turn the voxels of an axis into equal cells.

    A voxel has the centre index + 0.5. The filter is a triangle as wide as two cells, or two voxels where cells are
    smaller than voxels.

    Args:
        start: Where the first cell begins, in voxels.
        cell: Length of a cell in voxels.
        count: Number of cells.
        voxels: The voxels that are at hand. Cells near their ends are made of what is there, cells far from them are 0.

    Returns:
        (count, len(voxels)) float32; rows add up to 1, or to 0 where no voxel is near.
    """
    cells = start + (torch.arange(count, dtype=torch.float64) + 0.5) * cell
    centres = torch.arange(voxels.start, voxels.stop, dtype=torch.float64) + 0.5
    weights = (1 - (cells[:, None] - centres).abs() / max(1.0, cell)).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True).clamp(min=1e-12)).float()


class Coarsening(NamedTuple):
    """How an axis loses its finer detail.

    Attributes:
        cells: Larger cells over the whole length, which the axis is sampled at before it is interpolated linearly.
        blur: Width sigma of the Gaussian that it is sampled with, in voxels, at least 0.4: narrower ones fall between
            the voxels.
    """

    cells: int
    blur: float


def coarsened_weights(start: float, cell: float, count: int, coarsening: Coarsening, voxels: range) -> torch.Tensor:
    """Weights that blur an axis, sample it at larger cells and interpolate these to the wanted ones, all in one.

    Args:
        start: Where the first cell begins, in voxels.
        cell: Length of a wanted cell in voxels.
        count: Number of wanted cells.
        coarsening: Number of the larger cells, and the blur.
        voxels: As for `resampling_weights`.

    Returns:
        As `resampling_weights`.
    """
    cells, blur = coarsening
    middles = start + (torch.arange(cells, dtype=torch.float64) + 0.5) * count * cell / cells
    centres = torch.arange(voxels.start, voxels.stop, dtype=torch.float64) + 0.5
    distance = (middles[:, None] - centres).abs() / blur
    weights = torch.where(distance <= GAUSSIAN_REACH, torch.exp(-0.5 * distance.square()), 0.0)
    sampling = (weights / weights.sum(1, keepdim=True).clamp(min=1e-12)).float()
    return resampling_weights(0.0, cells / count, count, range(cells)) @ sampling


def reach(start: float, cell: float, count: int, length: int, *, coarsening: Coarsening | None = None) -> range:
    """Voxels of an axis of `length` voxels that its weights have a use for."""
    margin = max(1.0, cell) if coarsening is None else GAUSSIAN_REACH * coarsening.blur
    first = min(max(0, int(start - margin)), length)
    return range(first, max(first, min(length, int(start + count * cell + margin) + 1)))


def resample(image: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Apply the weights of every axis.

    Args:
        image: (channels, z, y, x) float32.
        weights: Per spatial axis (new length, length).

    Returns:
        (channels, *new lengths).
    """
    along_z, along_y, along_x = weights
    planes = along_y @ (image @ along_x.T)
    resampled: torch.Tensor = torch.tensordot(along_z, planes, dims=([1], [1])).movedim(0, 1)
    return resampled
