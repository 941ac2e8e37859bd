"""Images of nnU-Net's raw datasets, which need no labels and no dataset.json to become a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.nnunet_folders import datasets_of_id, folder_from_environment, is_dataset_name

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
    dataset = find_raw_dataset(dataset_name_or_id)
    if not (dataset / part).is_dir():
        raise SetupError(
            f"{dataset.name} has no folder {part}", where=dataset, mend=f"put the scans into {part}, or use -i FOLDER"
        )
    return dataset.name, dataset / part


def find_raw_dataset(dataset_name_or_id: str) -> Path:
    """Find the folder of a raw dataset.

    Args:
        dataset_name_or_id: ``Dataset012_ChestCT`` or ``12``.

    Raises:
        SetupError: If ``nnUNet_raw`` or the dataset is missing, or if several have the id.
    """
    raw = folder_from_environment("nnUNet_raw", must_exist=False)
    if is_dataset_name(dataset_name_or_id):
        found = [dataset_name_or_id] if (raw / dataset_name_or_id).is_dir() else []
    elif dataset_name_or_id.isdecimal():
        found = datasets_of_id(dataset_name_or_id, raw)
    else:
        raise SetupError(
            f"'{dataset_name_or_id}' is neither a dataset id nor a name like Dataset012_ChestCT",
            mend="give e.g. 12 or Dataset012_ChestCT",
        )
    if not found:
        raise SetupError(
            f"there is no raw dataset {dataset_name_or_id}",
            where=raw,
            mend="point nnUNet_raw to the folder that holds it",
        )
    if len(found) > 1:
        raise SetupError(
            f"several raw datasets have the id {dataset_name_or_id}: {', '.join(found)}",
            where=raw,
            mend="give the name",
        )
    return raw / found[0]
