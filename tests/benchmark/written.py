"""A written dataset with references and groups of two cases, for what is planned before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.plans import PlannedConfiguration, load_planned_configuration
from tests.preprocessed import DATASET, write_dataset

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CASES = [f"patient_{number // 2:02d}_{'left' if number % 2 else 'right'}" for number in range(20)]
PATTERN = r"^(patient_\d+)"


def write_planned(root: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedConfiguration:
    """Twenty cases of ten patients."""
    folder = write_dataset(root, {case: np.zeros((1, 4, 8, 8), np.float32) for case in CASES}, (4, 8, 8), monkeypatch)
    (folder / "gt_segmentations").mkdir()
    for case in CASES:
        (folder / "gt_segmentations" / f"{case}.nii.gz").touch()
    return load_planned_configuration(DATASET)
