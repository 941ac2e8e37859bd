"""nnU-Net's folders, by its environment variables and the names or ids of datasets."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nnunet_genesis.errors import SetupError

FINAL_CHECKPOINT = "checkpoint_final.pth"
"""What nnU-Net writes into the folder of a fold when its training ends."""


def find_dataset_folder(dataset_name_or_id: str) -> Path:
    """The folder ``nnUNet_preprocessed/DATASET``.

    Raises:
        SetupError: If the environment variable or the dataset is missing.
    """
    preprocessed = folder_from_environment("nnUNet_preprocessed")
    return preprocessed / find_dataset_name(preprocessed, dataset_name_or_id)


def folder_from_environment(variable: str, *, must_exist: bool = True) -> Path:
    """The folder that one of nnU-Net's variables names.

    Raises:
        SetupError: If the variable is not set, or names no folder.
    """
    value = os.environ.get(variable)
    if not value:
        raise SetupError(
            f"the environment variable {variable} is not set", mend=f"export {variable}=/path/to/{variable}"
        )
    folder = Path(value)
    if must_exist and not folder.is_dir():
        raise SetupError(
            f"the environment variable {variable} names no folder", where=folder, mend=f"export {variable}=/path/to/it"
        )
    return folder


def is_dataset_name(text: str) -> bool:
    """Whether a text is a name such as ``Dataset004_Hippocampus``."""
    return re.fullmatch(r"Dataset\d{3}_[^/\\]+", text) is not None


def datasets_of_id(dataset_id: str, *rooms: Path) -> list[str]:
    """Sorted names of the datasets that have an id, in digits, in some folders."""
    pattern = f"Dataset{int(dataset_id):03d}_*"
    return sorted({folder.name for room in rooms for folder in room.glob(pattern) if folder.is_dir()})


def find_dataset_name(preprocessed: Path, name_or_id: str) -> str:
    """Full name of a preprocessed dataset.

    Args:
        preprocessed: ``nnUNet_preprocessed``.
        name_or_id: ``Dataset004_Hippocampus`` or ``4``.

    Raises:
        SetupError: If there is none, or several.
    """
    if is_dataset_name(name_or_id):
        if (preprocessed / name_or_id).is_dir():
            return name_or_id
        number = int(name_or_id[7:10])
        raise SetupError(
            f"{name_or_id} was never preprocessed", where=preprocessed, mend=f"nnUNetv2_plan_and_preprocess -d {number}"
        )
    if not name_or_id.isdecimal():
        raise SetupError(
            f"'{name_or_id}' is neither a dataset id nor a name like Dataset004_Hippocampus",
            mend="give e.g. 4 or Dataset004_Hippocampus",
        )
    found = datasets_of_id(name_or_id, preprocessed)
    if not found:
        raise SetupError(
            f"no preprocessed dataset has the id {name_or_id}",
            where=preprocessed,
            mend=f"nnUNetv2_plan_and_preprocess -d {name_or_id}",
        )
    if len(found) > 1:
        raise SetupError(
            f"several datasets have the id {name_or_id}: {', '.join(found)}",
            where=preprocessed,
            mend="give the full name",
        )
    return found[0]
