"""Whether labelled cases hold every class at all."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

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
    """
    absent = {frozenset(values): name for name, values in labels.items()}
    for case in cases:
        if not absent:
            break
        try:
            # nnU-Net's own file beside the case, which nnU-Net loads in the same way.
            with (cases_folder / f"{case}.pkl").open("rb") as stream:
                locations = pickle.load(stream)["class_locations"]
        except (OSError, KeyError, pickle.UnpicklingError):
            return []
        for label, voxels in locations.items():
            if len(voxels):
                absent.pop(frozenset(label if isinstance(label, tuple) else [label]), None)
    return list(absent.values())
