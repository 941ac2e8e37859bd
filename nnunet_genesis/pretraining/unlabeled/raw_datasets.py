"""Images of nnU-Net's raw datasets, which need no labels and no dataset.json to become a pool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.nnunet_folders import folder_from_environment

if TYPE_CHECKING:
    from pathlib import Path


def find_raw_images(dataset_name_or_id: str, part: str) -> tuple[str, Path]:
    """Find a folder of raw images.

    Args:
        dataset_name_or_id: ``Dataset012_ChestCT`` or ``12``.
        part: ``imagesTr`` or ``imagesTs``.

    Returns:
        The dataset's full name and the folder.

    Raises:
        SetupError: If ``nnUNet_raw``, the dataset or the folder is missing.
    """
    raw = folder_from_environment("nnUNet_raw", must_exist=False)
    if re.fullmatch(r"Dataset\d{3}_.+", dataset_name_or_id):
        pattern = dataset_name_or_id
    elif dataset_name_or_id.isdecimal():
        pattern = f"Dataset{int(dataset_name_or_id):03d}_*"
    else:
        raise SetupError(
            f"'{dataset_name_or_id}' is neither a dataset id nor a name like Dataset012_ChestCT",
            mend="give e.g. 12 or Dataset012_ChestCT",
        )
    found = sorted(folder for folder in raw.glob(pattern) if folder.is_dir())
    if not found:
        raise SetupError(
            f"there is no raw dataset {dataset_name_or_id}",
            where=raw,
            mend="point nnUNet_raw to the folder that holds it",
        )
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise SetupError(
            f"several raw datasets have the id {dataset_name_or_id}: {names}", where=raw, mend="give the name"
        )
    folder = found[0] / part
    if not folder.is_dir():
        raise SetupError(
            f"{found[0].name} has no folder {part}", where=found[0], mend=f"put the scans into {part}, or use -i FOLDER"
        )
    return found[0].name, folder
