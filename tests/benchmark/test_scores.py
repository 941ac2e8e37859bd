"""The tables of scores: what is written is what is read, and what is no such table is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.benchmark.scores import (
    SCRATCH,
    CaseScore,
    EpochScore,
    RunKey,
    read_case_scores,
    read_epoch_scores,
    write_case_scores,
    write_epoch_scores,
)
from nnunet_genesis.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

RUN = RunKey(SCRATCH, 5, "warmup", 2)


def test_case_scores_come_back_digit_by_digit(tmp_path: Path) -> None:
    scores = [
        CaseScore(RUN, "case, with a comma", "patient 1", "tumour", "dice", 0.1 + 0.2, True),
        CaseScore(RUN, "liver_1", "patient 2", "tumour", "hd95", math.nan, False),
    ]
    write_case_scores(scores, tmp_path / "results.csv")
    first, second = read_case_scores(tmp_path / "results.csv")
    assert first == scores[0]
    assert math.isnan(second.value)
    assert (second.run, second.in_reference) == (RUN, False)


def test_a_table_of_before_the_reference_was_kept_is_read(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text(
        "initialisation,labelled,schedule,seed,case,group,label,metric,value\nscratch,5,warmup,2,a,ann,organ,dice,0.5\n"
    )
    expected = [CaseScore(RUN, "a", "ann", "organ", "dice", 0.5)]
    assert read_case_scores(file) == expected
    write_case_scores(expected, file)
    assert read_case_scores(file) == expected


def test_epoch_scores_come_back(tmp_path: Path) -> None:
    scores = [EpochScore(RUN, 0, "", 0.25), EpochScore(RUN, 1, "tumour", 0.0)]
    write_epoch_scores(scores, tmp_path / "epochs.csv")
    assert read_epoch_scores(tmp_path / "epochs.csv") == scores


def test_another_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text("case,value\na,1\n")
    with pytest.raises(DataError, match=r"column\(s\) initialisation, labelled"):
        read_case_scores(file)


@pytest.mark.parametrize(
    "wrong",
    [
        "five,warmup,2,a,g,t,dice,0.5,1",
        "5,warmup,2,a,g,t,dice,half,1",
        "5,warmup,2,a,g,t,dice,0.5,perhaps",
        "5,warmup,2,a,g,t,dice,0.5",
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "results.csv"
    write_case_scores([], file)
    file.write_text(file.read_text() + f"scratch,{wrong}\n")
    with pytest.raises(DataError, match="line 2"):
        read_case_scores(file)
