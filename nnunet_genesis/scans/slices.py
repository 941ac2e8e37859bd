"""Geometry of a stack of slices: their order, and whether they fill a volume evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

GAP_OF_A_MISSING_SLICE = 1.5  # in median gaps
TOLERATED_UNEVENNESS = 0.05  # of the median gap
TOLERATED_OFFSET_MM = 0.05  # positions are written as rounded decimals
SAME_POSITION_MM = 1e-3


def order_slices(
    positions: Sequence[Sequence[float]], orientation: Sequence[float], where: str
) -> npt.NDArray[np.intp]:
    """Order of the slices along their normal.

    Args:
        positions: Position of the first voxel of each slice (x, y, z) in mm.
        orientation: Direction cosines of rows and columns (6 values), shared by all slices.
        where: File or folder for messages.

    Returns:
        Indices that sort the slices.

    Raises:
        ScanProblem: If several slices share a place (reason ``dimensions``), slices are missing (``missing slices``) or
            the distances are uneven (``uneven slices``).
    """
    normal = np.cross(np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float))
    length = float(np.linalg.norm(normal))
    if not np.isfinite(length) or length < 0.5 or not np.isfinite(np.asarray(positions, dtype=float)).all():
        raise ScanProblem(Reason.UNREADABLE, "the positions or directions of the slices are no numbers", where=where)
    offsets = np.asarray(positions, dtype=float) @ (normal / length)
    order = np.argsort(offsets, kind="stable")
    check_gaps(np.diff(offsets[order]), where)
    return order


def check_gaps(gaps: npt.NDArray[np.float64], where: str) -> None:
    """Refuse stacks that are no evenly filled volume; ``gaps`` in mm, between neighbours along the normal."""
    if len(gaps) == 0:
        return
    repeated = int((gaps < SAME_POSITION_MM).sum())
    if repeated:
        places = len(gaps) + 1 - repeated
        raise ScanProblem(
            Reason.DIMENSIONS,
            f"{len(gaps) + 1} slices at only {places} positions: a series over time, or a repeated one",
            where=where,
            mend="split it into volumes, or convert one of them to NIfTI",
        )
    # The lower median: of two gaps, one with a slice missing, the smaller one is the usual one.
    median = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    widest = int(np.argmax(gaps))
    if gaps[widest] > GAP_OF_A_MISSING_SLICE * median:
        raise ScanProblem(
            Reason.MISSING_SLICES,
            f"a gap of {gaps[widest]:.4g} mm between slices {widest + 1} and {widest + 2} of {len(gaps) + 1}, "
            f"usually {median:.4g} mm",
            where=where,
            mend="copy the whole series",
        )
    furthest = int(np.argmax(np.abs(gaps - median)))
    if abs(gaps[furthest] - median) > max(TOLERATED_UNEVENNESS * median, TOLERATED_OFFSET_MM):
        raise ScanProblem(
            Reason.UNEVEN_SLICES,
            f"slices {furthest + 1} and {furthest + 2} are {gaps[furthest]:.4g} mm apart, usually {median:.4g} mm",
            where=where,
            mend="resample it to an even spacing and convert it to NIfTI",
        )
