"""The table of losses."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from nnunet_genesis.pretraining.monitor import write_csv

if TYPE_CHECKING:
    from pathlib import Path


def test_a_score_that_some_epochs_could_not_be_given_is_empty_there(tmp_path: Path) -> None:
    """The discriminant of modalities tells nothing while it has seen too few patches of one."""
    history = [{"epoch": 0, "loss": 0.5}, {"epoch": 1, "loss": 0.4, "val_accuracy": 0.9}, {"epoch": 2, "loss": 0.3}]
    write_csv(tmp_path / "progress.csv", history)
    with (tmp_path / "progress.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["val_accuracy"] for row in rows] == ["", "0.9", ""]
    assert [row["loss"] for row in rows] == ["0.5", "0.4", "0.3"]
