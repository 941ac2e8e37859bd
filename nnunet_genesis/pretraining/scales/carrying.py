"""Which scales a scan can carry: those whose crop lies in it along every axis that is scaled.

All axes of a 3D patch are scaled alike, thin ones too, so that nothing looks squeezed; of a slice the two in plane.
Scale 1 is always carried, padded where nnU-Net would pad. A larger one never is where it needs padding: a scan that is
shorter than the patch along any axis carries scale 1 alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SCALES = (1.0, 1.5, 2.0)
"""Sides of a crop in sides of the patch; the numbers are ours."""


def margins(scale: float, size: Sequence[int], num_axes: int) -> tuple[int, ...]:
    """Whole voxels that a crop needs on either side of the patch in its middle, per axis.

    Args:
        scale: At least 1.
        size: Voxels of the patch along (z, y, x).
        num_axes: Axes of the plans: 3, or 2 where z is left alone.
    """
    first = len(size) - num_axes
    return tuple(math.ceil(side * (scale - 1) / 2) if axis >= first else 0 for axis, side in enumerate(size))


def carried(
    shapes: npt.NDArray[np.int32], size: Sequence[int], num_axes: int, scales: Sequence[float] = SCALES
) -> npt.NDArray[np.bool_]:
    """Tell which scales scans can carry.

    Args:
        shapes: (scans, 3) voxels per axis.
        size: Voxels of the patch along (z, y, x).
        num_axes: Axes of the plans, 2 or 3.
        scales: The first is 1.

    Returns:
        (scans, scales).
    """
    columns = []
    for scale in scales:
        margin = np.array(margins(scale, size, num_axes))
        columns.append(((shapes >= np.array(size) + 2 * margin) | (margin == 0)).all(1))
    return np.stack(columns, axis=1)
