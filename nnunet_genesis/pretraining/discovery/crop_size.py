"""How large crops are: at most half of what there is to see."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration

MINIMUM_CELLS = 2
"""Cells of the bottleneck along an axis that is strided (ours)."""


def choose_crop_size(planned: PlannedConfiguration, boxes: npt.NDArray[np.int32]) -> tuple[int, ...]:
    """Choose the size of crops (ours).

    Per axis half of the median foreground box, at most the plans' patch, rounded down to a multiple of the network's
    total stride, at least two cells of the bottleneck (one voxel where the axis is never strided).

    Args:
        planned: The dataset's plans.
        boxes: (scans, 3, 2) foreground boxes of the training scans.

    Returns:
        Voxels per axis of a patch: two or three.
    """
    axes = len(planned.patch_size)
    median = np.median(boxes[:, -axes:, 1] - boxes[:, -axes:, 0], axis=0).tolist()
    size = []
    for patch, box, stride in zip(planned.patch_size, median, planned.total_strides(), strict=True):
        cells = math.floor(min(patch, box / 2) / stride)
        smallest = 1 if stride == 1 else MINIMUM_CELLS
        size.append(min(patch, stride * max(smallest, cells)))
    return tuple(size)
