"""How far surfaces are apart, in mm, by MONAI's implementations.

The normalised surface distance is that of Nikolov et al. 2018 (arXiv 1809.04430): the share of both surfaces that lies
within a tolerance of the other one, by areas of surface elements. HD95 is the larger of the two directed 95th
percentiles of distances between surface voxels.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

PERCENTILE = 95
_ROUNDING = 1e-4
"""Of a tolerance: MONAI compares in single precision, and a distance of exactly the tolerance is within it."""


@dataclass(frozen=True)
class SurfaceScores:
    """How two segmentations of one class agree.

    Attributes:
        nsd: Normalised surface distance in [0, 1]; NaN where neither has the class.
        hd95: In mm; NaN where neither has the class; where one alone has it, the diagonal of the image: the largest
            distance that there could be, so that a missed structure is never left out of a mean.
    """

    nsd: float
    hd95: float


def compare_surfaces(
    prediction: npt.NDArray[np.bool_],
    reference: npt.NDArray[np.bool_],
    spacing: Sequence[float],
    tolerance_mm: float,
) -> SurfaceScores:
    """Compare the surfaces of two masks.

    Args:
        prediction: Two or three axes; of three, one of a single voxel does not count.
        reference: Of the same shape.
        spacing: Millimetres per axis of the masks.
        tolerance_mm: Deviation that counts as none.
    """
    if not prediction.any() and not reference.any():
        return SurfaceScores(math.nan, math.nan)
    # Two-dimensional images come with an axis of one voxel, whose spacing means nothing.
    flat = [axis for axis, length in enumerate(prediction.shape) if length == 1][: prediction.ndim - 2]
    mm = [float(one) for axis, one in enumerate(spacing) if axis not in flat]
    if not prediction.any() or not reference.any():
        lengths = [length for axis, length in enumerate(prediction.shape) if axis not in flat]
        return SurfaceScores(0.0, math.hypot(*np.multiply(lengths, mm)))

    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    masks = [torch.from_numpy(_crop(mask, prediction | reference, flat)) for mask in (prediction, reference)]
    ours, theirs = (mask[None, None].float() for mask in masks)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="monai")  # it calls functions of its own
        nsd = compute_surface_dice(
            ours,
            theirs,
            class_thresholds=[tolerance_mm * (1 + _ROUNDING)],
            include_background=True,
            spacing=mm,
            use_subvoxels=True,
        )
        hd95 = compute_hausdorff_distance(ours, theirs, include_background=True, percentile=PERCENTILE, spacing=mm)
    return SurfaceScores(float(nsd), float(hd95))


def _crop(mask: npt.NDArray[np.bool_], union: npt.NDArray[np.bool_], flat: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Cut to what either mask has, with a voxel of background around it; flat axes are dropped."""
    box = tuple(
        slice(int(numbers.min()), int(numbers.max()) + 1)
        for axis in range(union.ndim)
        for numbers in [np.flatnonzero(union.any(axis=tuple(other for other in range(union.ndim) if other != axis)))]
    )
    return np.pad(np.squeeze(mask[box], axis=tuple(flat)) if flat else mask[box], 1)
