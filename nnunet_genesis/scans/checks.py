"""Whether a scan can be used: by its header, by its spacing, by its voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.scans.channels import describe_channels
from nnunet_genesis.scans.headers import PICTURE_ENDINGS
from nnunet_genesis.scans.label_maps import count_few_values
from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nnunet_genesis.scans.headers import Header

IMPLAUSIBLE_SPACING = 20  # times smaller or larger than the plans'


@dataclass(frozen=True)
class ReadingRules:
    """What a scan must be like.

    Attributes:
        num_channels: Number of channels of the plans.
        dimensions: 2 or 3, the length of the patch size.
        spacing: Target spacing of the plans in mm, one value per dimension, in any order (it is compared sorted).
        max_voxels: Most voxels per channel, of the raw scan and after resampling to ``spacing``.
    """

    num_channels: int
    dimensions: int
    spacing: tuple[float, ...]
    max_voxels: int


def check_header(header: Header, files: int, rules: ReadingRules, where: str) -> None:
    """Refuse what can be refused before voxels are read; ``files`` is the number of channels that are files."""
    if header.is_complex:
        raise ScanProblem(Reason.UNREADABLE, "complex voxels", where=where, mend="store their magnitude")
    in_file = header.components
    if in_file > 1 and not (where.lower().endswith(PICTURE_ENDINGS) and files == 1):
        raise ScanProblem(Reason.CHANNELS, f"{in_file} values per voxel (colours or vectors)", where=where)
    if min(header.size) < 1:
        raise ScanProblem(Reason.EMPTY, f"no voxels ({_by(header.size)})", where=where)
    if not 2 <= len(header.size) <= 4:
        raise ScanProblem(Reason.DIMENSIONS, f"{len(header.size)} axes ({_by(header.size)})", where=where)
    _check_dimensions(header.size[:3], rules, where)
    if len(header.size) == 4:
        if files != 1 or header.size[3] != rules.num_channels:
            raise ScanProblem(
                Reason.DIMENSIONS,
                f"{header.size[3]} volumes in one file ({_by(header.size)}), expected {rules.num_channels // files}",
                where=where,
                mend="split the file into its volumes",
            )
        in_file = header.size[3]
    if files == 1 and in_file != rules.num_channels:
        raise ScanProblem(Reason.CHANNELS, describe_channels(range(in_file), rules.num_channels), where=where)
    _check_number(math.prod(header.size[:3]), f"{_by(header.size[:3])} voxels", rules, where)
    if header.spacing:
        check_spacing(header.size[:3], header.spacing[:3], rules, where)


def check_spacing(size: Sequence[int], spacing: Sequence[float], rules: ReadingRules, where: str) -> None:
    """Refuse spacings that cannot be true, and volumes that get too large at the plans' spacing.

    Args:
        size: Two or three spatial sizes.
        spacing: As many values in mm, in the same order.
        rules: Only the smallest ``dimensions`` spacings are compared with the plans', sorted: the order of axes differs
            between scans, and two-dimensional plans leave the distance of slices alone.
        where: File for messages.
    """
    text = " x ".join(f"{step:.4g}" for step in spacing)
    mend = "correct the spacing in its header"
    if not all(math.isfinite(step) and step > 0 for step in spacing):
        raise ScanProblem(Reason.SPACING, f"spacing {text} mm", where=where, mend=mend)
    compared, planned = sorted(spacing)[: len(rules.spacing)], sorted(rules.spacing)
    for step, target in zip(compared, planned, strict=False):
        if not target / IMPLAUSIBLE_SPACING <= step <= target * IMPLAUSIBLE_SPACING:
            raise ScanProblem(
                Reason.SPACING,
                f"spacing {text} mm, the plans have {' x '.join(f'{value:.4g}' for value in planned)} mm: "
                f"more than {IMPLAUSIBLE_SPACING} times apart",
                where=where,
                mend=mend,
            )
    if len(compared) == len(planned):
        resampled = math.prod(size) * math.prod(compared) / math.prod(planned)
        _check_number(int(resampled), f"{int(resampled):,} voxels at the spacing of the plans", rules, where)


def check_image(image: npt.NDArray[np.float32], rules: ReadingRules, where: str) -> None:
    """Refuse images (channels, z, y, x) that nothing can be learnt from.

    Of several channels, one that is no label map is enough: a patient may lack a modality, and a channel may be a mask.
    """
    if image.size == 0:
        raise ScanProblem(Reason.EMPTY, f"no voxels ({_by(image.shape)})", where=where)
    if image.ndim != 4:
        raise ScanProblem(Reason.DIMENSIONS, f"the image has the axes {_by(image.shape)}", where=where)
    if image.shape[0] != rules.num_channels:
        raise ScanProblem(Reason.CHANNELS, describe_channels(range(image.shape[0]), rules.num_channels), where=where)
    _check_dimensions(image.shape[1:], rules, where)
    empty: list[tuple[Reason, str]] = []
    for number, channel in enumerate(image):
        bad = channel.size - np.count_nonzero(np.isfinite(channel))
        if bad:
            raise ScanProblem(
                Reason.NOT_FINITE,
                f"{bad} of {channel.size} voxels of channel {number} are NaN or infinite",
                where=where,
            )
        if channel.min() == channel.max():
            empty.append((Reason.CONSTANT, f"all voxels of channel {number} are {float(channel.flat[0]):g}"))
        elif values := count_few_values(channel):
            empty.append((Reason.FEW_VALUES, f"channel {number} has only {values} different values: a label map?"))
    if len(empty) == len(image):
        is_constant = all(reason is Reason.CONSTANT for reason, _ in empty)
        reason = Reason.CONSTANT if is_constant else Reason.FEW_VALUES
        raise ScanProblem(reason, "; ".join(text for _, text in empty), where=where)


def _check_dimensions(size: Sequence[int], rules: ReadingRules, where: str) -> None:
    if rules.dimensions == 3 and (len(size) < 3 or min(size) == 1):
        raise ScanProblem(Reason.DIMENSIONS, f"one slice ({_by(size)}), a volume is needed", where=where)


def _check_number(voxels: int, text: str, rules: ReadingRules, where: str) -> None:
    if voxels > rules.max_voxels:
        raise ScanProblem(Reason.TOO_LARGE, f"{text}, the limit is {rules.max_voxels:,}", where=where)


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
