"""Whether the channels of a scan lie on one grid, by what their headers say of origin and direction."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import nibabel.orientations
import numpy as np
import SimpleITK as sitk

from nnunet_genesis.scans.headers import PICTURE_ENDINGS
from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

FARTHEST = 0.5
"""Most that a corner of a channel may lie from the first channel's, in voxels; what tools round is far less."""
_ORIENTATIONS: Any = nibabel.orientations
ALIGN = "resample the channels to one grid, or correct their headers"


def check_alignment(channels: Sequence[tuple[str, ...]], *, reoriented: bool) -> None:
    """Refuse channels of equal size that lie elsewhere, or whose axes point elsewhere.

    Channels that say nothing of it, or whose headers SimpleITK cannot read, are left to the reader.

    Args:
        channels: Files of each.
        reoriented: Whether the reader turns every channel to the same order and direction of axes.

    Raises:
        ScanProblem: With the distance, in mm.
    """
    grids = [(number, _grid(files)) for number, files in enumerate(channels) if len(channels) > 1]
    known = [(number, *_reorient(*grid)) if reoriented else (number, *grid) for number, grid in grids if grid]
    for number, affine, size in known[1:]:
        first, first_affine, first_size = known[0]
        if size != first_size:
            continue
        apart = max(np.linalg.norm(_corners(affine, size) - _corners(first_affine, first_size), axis=1))
        if apart > FARTHEST * np.linalg.norm(first_affine[:3, :3], axis=0).min():
            raise ScanProblem(
                Reason.CHANNELS,
                f"the channels differ in origin or direction: voxels of channel {number} lie up to {apart:.4g} mm"
                f" from those of channel {first}",
                where=channels[number][0],
                mend=ALIGN,
            )


def _grid(files: Sequence[str]) -> tuple[npt.NDArray[np.float64], tuple[int, ...]] | None:
    """Matrix from voxel numbers (x, y, z) to mm, and the size in the same order."""
    if files[0].lower().endswith(PICTURE_ENDINGS):
        return None
    first = _read_information(files[0])
    last = _read_information(files[-1])
    if first is None or last is None:
        return None
    axes = min(3, first.GetDimension())
    affine, size = np.eye(4), [1, 1, 1]
    directions = np.reshape(first.GetDirection(), (first.GetDimension(),) * 2)[:axes, :axes]
    affine[:axes, :axes] = directions * first.GetSpacing()[:axes]
    affine[:axes, 3] = first.GetOrigin()[:axes]
    size[:axes] = first.GetSize()[:axes]
    if len(files) > 1:
        affine[:3, 2] = np.subtract(last.GetOrigin(), first.GetOrigin()) / (len(files) - 1)
        size[2] = len(files)
    return (affine, tuple(size)) if np.isfinite(affine).all() and np.linalg.det(affine) != 0 else None


def _read_information(file: str) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    return reader


def _reorient(
    affine: npt.NDArray[np.float64], size: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    """The grid after `nibabel.as_closest_canonical`."""
    orientation = _ORIENTATIONS.io_orientation(affine)
    turned = tuple(size[int(axis)] for axis in np.argsort(orientation[:, 0]))
    return affine @ _ORIENTATIONS.inv_ornt_aff(orientation, size), turned


def _corners(affine: npt.NDArray[np.float64], size: Sequence[int]) -> npt.NDArray[np.float64]:
    ends = np.array([*product((0, 1), repeat=3)]) * (np.array(size) - 1)
    corners: npt.NDArray[np.float64] = ends @ affine[:3, :3].T + affine[:3, 3]
    return corners
