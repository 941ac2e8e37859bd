"""Fuzzing: whatever a file holds, the run goes on, and every scan is kept or reported.

``NNUNET_GENESIS_DAMAGED_SCANS`` says how many, 500 by default.
"""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.case_files import read_whole
from nnunet_genesis.scans.problems import Reason
from nnunet_genesis.scans.voxel_hash import hash_voxels
from tests.pretraining.unlabeled.damage import write_damaged_scan
from tests.pretraining.unlabeled.planned import build, draw_scan, plan_dataset, write_scan

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

COUNT = int(os.environ.get("NNUNET_GENESIS_DAMAGED_SCANS", "500"))


def test_damaged_scans_are_kept_or_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan_dataset(tmp_path, monkeypatch)
    folder = tmp_path / "in"
    damaged = [write_damaged_scan(folder, seed) for seed in range(COUNT)]
    write_scan(folder / "whole.nii.gz", draw_scan(COUNT))
    outcome = build(planned, folder, workers=2, seconds=20, max_voxels=2_000_000)
    with (outcome.folder / "report.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        reported = list(csv.DictReader(stream))
    told = {
        source.removeprefix(f"{folder}/").split("/")[0].split(" ")[0]
        for case in outcome.cases
        for source in case.sources
    }
    told |= {row["source"].removeprefix(f"{folder}/").split("/")[0].split(" ")[0] for row in reported}
    assert told == {*(scan.name for scan in damaged), "whole.nii.gz"}
    assert {row["reason"] for row in reported} <= {reason.value for reason in Reason}
    assert not [row for row in reported if row["reason"] == Reason.TIMED_OUT.value]
    assert all(row["detail"].strip() for row in reported)
    assert "whole" in [case.identifier for case in outcome.cases]
    for case in outcome.cases:
        image = read_whole(outcome.folder / case.file)
        assert np.isfinite(image).all()
        assert hash_voxels(image) == case.sha256
    assert len(outcome.broken) > COUNT / 3, "the damage is real"
