"""Whether the values of plans and dataset.json can be what they stand for, before anything is made of them."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration

LONGEST_SIDE = 1 << 16
_ENDING = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9_.]*")


def check_planned(planned: PlannedConfiguration, where: Path, mend: str) -> None:
    """Refuse values that no patch, no image and no folder can have.

    Args:
        planned: What was read.
        where: The plans file.
        mend: The command that makes plans.

    Raises:
        SetupError: Naming the first such value.
    """
    channels = planned.num_channels
    numbers = [*planned.spacing, *(value for entry in planned.foreground_intensities for value in entry.values())]
    wrong = {
        "patch_size": not 2 <= len(planned.patch_size) <= 3 or not _all_between(planned.patch_size, LONGEST_SIDE),
        "batch_size": not _all_between([planned.batch_size], LONGEST_SIDE),
        "spacing": len(planned.spacing) != len(planned.patch_size)
        or not all(0 < mm < LONGEST_SIDE for mm in planned.spacing),
        "normalization_schemes": len(planned.normalization_schemes) != channels
        or not all(isinstance(scheme, str) for scheme in planned.normalization_schemes),
        "use_mask_for_norm": len(planned.masked_normalization) != channels,
        "foreground_intensities": not all(isinstance(value, (int, float)) for value in numbers)
        or any(math.isinf(value) for value in numbers),
        "data_identifier": not is_plain_name(planned.data_identifier),
        "architecture": not isinstance(planned.architecture, dict)
        or not isinstance(planned.architecture.get("arch_kwargs"), dict),
    }
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        told = str(getattr(planned, "masked_normalization" if name == "use_mask_for_norm" else name))
        raise SetupError(
            f"the plans cannot be used: {name.replace('_', ' ')} {told[:200]!r}, with {channels} channel(s)",
            where=where,
            mend=mend,
        )


def check_plans_name(plans: Mapping[str, Any], where: Path) -> None:
    """Refuse plans that have another name than their file, as an edited copy has.

    nnU-Net opens plans by the file's name, but files what it trains by them under the name inside: its training would
    look for another pretraining than the one that was made by this file.

    Args:
        plans: Content of the file.
        where: The file.

    Raises:
        SetupError: Naming both.
    """
    name = plans.get("plans_name")
    if name != where.stem:
        told = "no plans_name" if name is None else f"plans_name {str(name)[:100]!r}"
        raise SetupError(
            f"the file {where.name} holds {told}, not {where.stem!r}: what nnU-Net trains by it is filed under the name"
            " inside, and a pretraining is looked for under that name, too",
            where=where,
            mend=f"set plans_name to {where.stem!r} in {where}",
        )


def check_dataset_json(content: Mapping[str, Any], where: Path, mend: str) -> None:
    """Refuse a dataset.json whose channels, labels or file ending are none.

    Raises:
        SetupError: Naming the entry.
    """
    names = content.get("channel_names", content.get("modality"))
    if not isinstance(names, dict) or not names or not all(key.isascii() and key.isdecimal() for key in names):
        raise _unusable("channel_names", names, where, mend)
    ending = content.get("file_ending", ".nii.gz")
    if not isinstance(ending, str) or not _ENDING.fullmatch(ending):
        raise _unusable("file_ending", ending, where, mend)
    labels = content.get("labels", {})
    if not isinstance(labels, dict) or not all(map(_is_label, labels.values())):
        raise _unusable("labels", labels, where, mend)


def is_plain_name(name: object) -> bool:
    """Whether a text names something inside a folder, nothing outside of it, and can be shown."""
    return (
        isinstance(name, str)
        and name not in {"", ".", ".."}
        and len(name.encode("utf-8", "surrogatepass")) <= 255
        and not any(letter in "/\\" or not letter.isprintable() for letter in name)
        and not (os.name == "nt" and ":" in name)
    )


def is_side(value: object) -> bool:
    """Whether a value counts voxels, channels or steps along an axis."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LONGEST_SIDE


def _is_label(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_label(one) and not isinstance(one, list) for one in value)
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else -1
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LONGEST_SIDE


def _all_between(values: Any, most: int) -> bool:
    return all(1 <= value <= most for value in values)


def _unusable(name: str, value: Any, where: Path, mend: str) -> SetupError:
    return SetupError(f"dataset.json cannot be used: {name} {str(value)[:200]!r}", where=where, mend=mend)
