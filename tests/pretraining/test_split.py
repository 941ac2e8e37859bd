"""Who is learned from, who judges, and who is never seen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.errors import SetupError
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.split import CaseSplit, split_cases
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from pathlib import Path


def split(**settings: object) -> CaseSplit:
    config = PretrainingConfig(pretext="models-genesis", batch_size=2, **settings)  # type: ignore[arg-type]
    return split_cases(load_planned_configuration("777"), config)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_dataset(tmp_path, smooth_cases(20, (4, 8, 8)), (4, 8, 8), monkeypatch)


def test_every_case_is_on_one_side_and_the_seed_decides(dataset: Path) -> None:
    assert dataset.is_dir()
    first = split(val_fraction=0.2)
    assert len(first.validation) == 4
    assert sorted(first.train + first.validation) == [f"case_{number:03d}" for number in range(20)]
    assert first == split(val_fraction=0.2)
    assert first != split(val_fraction=0.2, seed=1)


def test_excluded_fold_is_nowhere(dataset: Path) -> None:
    held_out = ["case_003", "case_007"]
    (dataset / "splits_final.json").write_text(json.dumps([{"train": [], "val": held_out}]))
    result = split(exclude_fold=0)
    assert result.excluded == tuple(held_out)
    assert not set(held_out) & {*result.train, *result.validation}
    assert len(result.train) + len(result.validation) == 18


def test_one_case_is_held_out_at_least_and_one_is_left_to_learn_from(dataset: Path) -> None:
    assert dataset.is_dir()
    assert len(split(val_fraction=0.001).validation) == 1
    assert len(split(val_fraction=0.999).train) == 1


def test_too_few_cases_are_an_error(dataset: Path) -> None:
    cases = [f"case_{number:03d}" for number in range(19)]
    (dataset / "splits_final.json").write_text(json.dumps([{"train": [], "val": cases}]))
    with pytest.raises(SetupError, match=r"1 case\(s\) to pretrain on, at least 2 are needed \(fold 0 excludes 19\)"):
        split(exclude_fold=0)
