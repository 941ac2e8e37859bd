"""Which modality a source has."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.modalities import is_guessed, modalities_of, modality_of, parse_modalities
from nnunet_genesis.pretraining.source_folders import OWN_CASES, SourceFolder
from nnunet_genesis.pretraining.unlabeled.pool import Pool
from tests.planned import CT, MASKED_MR, MR, planned

OWN = SourceFolder(OWN_CASES, planned(MR, MASKED_MR))
DATASET = SourceFolder("Dataset012_ChestCT", planned(CT))
POOL = SourceFolder("archive", Pool(Path("pools/archive")))


def test_channels_name_the_modality_of_datasets_and_a_pool_has_its_own_name() -> None:
    assert modalities_of([OWN, DATASET, POOL], {}) == {
        "labelled": "T1+T2",
        "Dataset012_ChestCT": "CT",
        "archive": "archive",
    }
    assert [is_guessed(folder, {}) for folder in (OWN, DATASET, POOL)] == [False, False, True]


def test_what_is_told_counts() -> None:
    told = parse_modalities(["archive=CT", "labelled = T1"])
    assert told == {"archive": "CT", "labelled": "T1"}
    assert modality_of(POOL, told) == "CT"
    assert modality_of(OWN, told) == "T1"
    assert not is_guessed(POOL, told)


def test_unknown_sources_are_refused() -> None:
    with pytest.raises(SetupError, match=r"--modality archiv=CT: there is no source archiv; .* labelled, archive"):
        modalities_of([OWN, POOL], {"archiv": "CT"})


@pytest.mark.parametrize("text", ["CT", "=CT", "archive=", "archive"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match="needed is SOURCE=NAME"):
        parse_modalities([text])


def test_a_source_told_twice_is_refused() -> None:
    with pytest.raises(SetupError, match="archive is told twice, CT and MR"):
        parse_modalities(["archive=CT", "archive=MR"])
    assert parse_modalities(["archive=CT", "archive=CT"]) == {"archive": "CT"}
