"""The box around what is to be seen in a scan, measured on its voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

MINIMUM_PLANE_SHARE = 0.05
"""A plane is in the box if it has this share of the foreground of the fullest plane across the same axis (ours).

A few bright voxels of noise in the air would otherwise stretch the box to the borders of the scan.
"""


def measure_box(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Find the box of the foreground.

    Args:
        mask: (z, y, x), True on foreground, see `nnunet_genesis.pretraining.foreground.foreground_mask`.

    Returns:
        (3, 2): first voxel per axis, and the one after the last. The whole scan where nothing is foreground.
    """
    box = np.zeros((3, 2), dtype=np.int32)
    for axis in range(3):
        counts = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
        inside = np.flatnonzero((counts > 0) & (counts >= MINIMUM_PLANE_SHARE * counts.max()))
        box[axis] = (inside[0], inside[-1] + 1) if len(inside) else (0, mask.shape[axis])
    return box
