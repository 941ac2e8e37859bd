"""Plans, dataset.json and splits of a preprocessed dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from nnunet_genesis.planned_networks import list_planned_networks
from nnunet_genesis.plans import load_planned_configuration
from tests.preprocessed import DATASET, write_dataset
from tests.reliability.fuzzing.mutations import mutate_json
from tests.reliability.fuzzing.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def _make(folder: Path) -> Sequence[Path]:
    cases = {f"case_{number}": np.ones((1, 4, 8, 8), np.float32) for number in range(5)}
    dataset = write_dataset(folder, cases, (4, 8, 8), pytest.MonkeyPatch())
    (dataset / "splits_final.json").write_text(
        '[{"train": ["case_0", "case_1"], "val": ["case_2", "case_3", "case_4"]}]'
    )
    return [dataset / "nnUNetPlans.json", dataset / "dataset.json", dataset / "splits_final.json"]


def _read(_: Path, __: Path) -> None:
    planned = load_planned_configuration(DATASET)
    planned.validation_cases(0)
    planned.total_strides()
    planned.deepest_features()
    planned.build_restoration_network()


def _read_networks(_: Path, __: Path) -> None:
    for network in list_planned_networks(DATASET, "nnUNetPlans"):
        network.build()


PLANS = (
    Reader("plans", _make, _read, mutate_json),
    Reader("planned_networks", _make, _read_networks, mutate_json),
)
