"""Where a place lies in a scan, and how far two places are apart.

A place is relative to the foreground box: an offset from its centre in millimetres per axis of the preprocessed arrays.
Slices of 2D configurations have no common distance from each other: along z a place is then a share of the box instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]

SHARE_OF_A_SIDE = 0.5
"""In 2D configurations, the share of the box along z that counts as the side of a crop (ours)."""


def size_in_voxels(crop_size: Sequence[int]) -> tuple[int, int, int]:
    """Crop size with three axes: one slice in 2D."""
    z, y, x = (1,) * (3 - len(crop_size)) + tuple(crop_size)
    return z, y, x


def find_centres(boxes: npt.NDArray[np.int32], place: Sequence[float], spacing: Sequence[float]) -> FloatArray:
    """Find a place in scans.

    Args:
        boxes: (..., 3, 2) foreground boxes, first voxel and the one after the last.
        place: Per axis, see above.
        spacing: Millimetres per axis of the preprocessed arrays, two in 2D.

    Returns:
        (..., 3) in voxels from the edge of the first voxel.
    """
    low, high = boxes[..., 0].astype(np.float64), boxes[..., 1].astype(np.float64)
    centres = (low + high) / 2
    axes = len(spacing)
    centres[..., -axes:] += np.asarray(place[-axes:]) / np.asarray(spacing)
    if axes == 2:
        centres[..., 0] = low[..., 0] + place[0] * (high[..., 0] - low[..., 0])
    return centres


def express_place(box: npt.NDArray[np.int32], centre: FloatArray, spacing: Sequence[float]) -> tuple[float, ...]:
    """Find the place of a point in a scan: the inverse of `find_centres`."""
    low, high = box[:, 0].astype(np.float64), box[:, 1].astype(np.float64)
    place = centre - (low + high) / 2
    axes = len(spacing)
    place[-axes:] *= np.asarray(spacing)
    if axes == 2:
        place[0] = (centre[0] - low[0]) / (high[0] - low[0])
    return tuple(place.tolist())


def first_voxels(centres: FloatArray, size: Sequence[int]) -> IntArray:
    """First voxels (..., 3) of crops of this size around points; negative where a crop begins outside of its scan."""
    first: IntArray = np.floor(centres - np.asarray(size) / 2 + 0.5).astype(np.int64)
    return first


def distances(
    place: Sequence[float], others: Sequence[Sequence[float]], crop_size: Sequence[int], spacing: Sequence[float]
) -> FloatArray:
    """Distances (others,) between a place and others, in sides of a crop."""
    sides = [voxels * mm for voxels, mm in zip(crop_size, spacing, strict=True)]
    if len(sides) == 2:
        sides = [SHARE_OF_A_SIDE, *sides]
    steps = (np.asarray(others, dtype=np.float64).reshape(-1, 3) - np.asarray(place)) / np.asarray(sides)
    return np.asarray(np.linalg.norm(steps, axis=1), dtype=np.float64)
