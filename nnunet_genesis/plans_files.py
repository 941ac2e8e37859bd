"""The JSON files that nnU-Net keeps beside a preprocessed dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError
from nnunet_genesis.json_reading import read_json, read_json_object
from nnunet_genesis.plans_checks import check_dataset_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_dataset_json(file: Path) -> dict[str, Any]:
    """The ``dataset.json`` of a dataset.

    Raises:
        SetupError: If it cannot be read, or its channels, labels or file ending are none.
    """
    mend = "write it as nnU-Net's documentation/dataset_format.md says, or put it back as it was"
    content = read_json_object(file, mend)
    check_dataset_json(content, file, mend)
    return content


def find_plans(folder: Path, asked: str | None = None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The plans in the folder of a preprocessed dataset, sorted by name.

    Files that hold no object with configurations are no plans, like ``splits_final.json`` and what anybody keeps
    beside it, and are passed over.

    Args:
        folder: ``nnUNet_preprocessed/DATASET``.
        asked: Name of the plans that must be readable, if they are there.

    Yields:
        File, and what it holds.

    Raises:
        SetupError: If the file of the plans that are asked for cannot be read, or holds no object.
    """
    for file in sorted(folder.glob("*.json")):
        try:
            content = read_json_object(file, plan_again(folder.name))
        except SetupError:
            if file.stem == asked:
                raise
            continue
        if isinstance(content.get("configurations"), dict):
            yield file, content


def read_splits(file: Path) -> list[dict[str, Any]]:
    """The ``splits_final.json`` of a dataset.

    Raises:
        SetupError: If it cannot be read, or is no list of splits.
    """
    mend = "write a list of {'train': [...], 'val': [...]}, or delete the file: nnU-Net makes it anew"
    try:
        splits = read_json(file)
    except (OSError, ValueError) as error:
        raise SetupError(f"the splits cannot be read as JSON ({error})", where=file, mend=mend) from error
    if not isinstance(splits, list) or not splits or not all(map(_is_split, splits)):
        raise SetupError("these are no splits of nnU-Net", where=file, mend=mend)
    return splits


def _is_split(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(part), list) and all(isinstance(case, str) for case in value[part])
        for part in ("train", "val")
    )


def unusable_plans(error: Exception, file: Path) -> SetupError:
    """What nnU-Net or we stumbled over in plans whose entries were taken for what they should be."""
    return SetupError(
        f"the plans cannot be used: {type(error).__name__}: {str(error)[:300]}",
        where=file,
        mend=plan_again(file.parent.name),
    )


def plan_again(dataset_name: str) -> str:
    """What mends plans."""
    return f"nnUNetv2_plan_experiment -d {dataset_name[7:10]}, or put the file back as nnU-Net wrote it"
