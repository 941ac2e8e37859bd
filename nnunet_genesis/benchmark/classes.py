"""Whether labelled cases hold every class at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.errors import DataError
from nnunet_genesis.plain_pickle import read_plain_pickle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def find_absent_classes(cases_folder: Path, cases: Sequence[str], labels: Mapping[str, Sequence[int]]) -> list[str]:
    """Classes that none of some cases holds, by what nnU-Net's preprocessing noted of each.

    Args:
        cases_folder: Of preprocessed cases.
        cases: Names of cases.
        labels: Name of every class, or region, to its values.

    Returns:
        Names of classes; empty where a case's notes are missing, because then nothing is known.

    Raises:
        DataError: If the notes of a case are damaged, or hold more than plain values.
    """
    absent = {frozenset(values): name for name, values in labels.items()}
    for case in cases:
        if not absent:
            break
        file = cases_folder / f"{case}.pkl"
        if not file.is_file():
            return []
        properties = read_plain_pickle(file)
        if isinstance(properties, dict) and "class_locations" not in properties:
            return []
        try:
            found = [label for label, voxels in properties["class_locations"].items() if len(voxels)]
            present = [frozenset(label if isinstance(label, tuple) else [label]) for label in found]
        except (TypeError, AttributeError) as error:
            raise DataError(
                f"the properties of a case are not as nnU-Net writes them ({type(error).__name__}: {error})",
                where=file,
                mend="preprocess the case again: nnUNetv2_preprocess",
            ) from error
        for labels_of_one in present:
            absent.pop(labels_of_one, None)
    return list(absent.values())
