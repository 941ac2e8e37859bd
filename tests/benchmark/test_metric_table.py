"""What is not defined: a class that is not there, and a class that was not found."""

from __future__ import annotations

import math

import pytest

from nnunet_genesis.benchmark.scores import SCRATCH, CaseScore, RunKey
from nnunet_genesis.benchmark.statistics.metric_table import MEAN_OF_CLASSES, build_tables

SCRATCH_RUN, RUN = RunKey(SCRATCH, 5, "standard", 0), RunKey("mg", 5, "standard", 0)


def _scores(metric: str, label: str, values: dict[RunKey, list[float]]) -> list[CaseScore]:
    return [
        CaseScore(run, f"case_{number}", f"patient_{number // 2}", label, metric, value)
        for run, row in values.items()
        for number, value in enumerate(row)
    ]


def test_a_missed_class_counts_as_the_worst_and_is_told() -> None:
    scores = _scores("dice", "organ", {SCRATCH_RUN: [0.8, 0.0, 0.6], RUN: [0.9, 0.7, 0.5]})
    scores += _scores("hd95", "organ", {SCRATCH_RUN: [3.0, math.inf, 9.0], RUN: [math.nan, 2.0, 4.0]})
    table = build_tables(scores)["hd95", "organ"]
    assert table.values[SCRATCH_RUN].tolist() == [3.0, 9.0, 9.0]
    assert table.values[RUN].tolist() == [9.0, 2.0, 4.0]
    assert table.missed == {SCRATCH_RUN: 1, RUN: 0}
    assert not table.larger_is_better


def test_a_case_without_the_class_is_left_out_for_all_and_wrong_finds_are_counted() -> None:
    scores = _scores("dice", "organ", {SCRATCH_RUN: [0.8, math.nan, 0.6], RUN: [0.9, 0.0, 0.5]})
    scores += _scores("nsd", "organ", {SCRATCH_RUN: [0.8, math.nan, math.nan], RUN: [0.9, 0.0, 0.5]})
    tables = build_tables(scores)
    for metric in ("dice", "nsd"):
        table = tables[metric, "organ"]
        assert table.cases == ("case_0", "case_2")
        assert table.groups == ("patient_0", "patient_1")
        assert table.absent == ("case_1",)
        assert table.wrongly_found == {SCRATCH_RUN: 0, RUN: 1}
    assert tables["nsd", "organ"].values[SCRATCH_RUN].tolist() == [0.8, 0.0]
    assert tables["nsd", "organ"].missed == {SCRATCH_RUN: 0, RUN: 0}


def test_the_mean_is_over_the_classes_that_a_case_has() -> None:
    scores = _scores("dice", "organ", {SCRATCH_RUN: [0.8, 0.6], RUN: [0.9, 0.7]})
    scores += _scores("dice", "tumour", {SCRATCH_RUN: [0.4, math.nan], RUN: [0.1, 0.0]})
    table = build_tables(scores)["dice", MEAN_OF_CLASSES]
    assert table.values[SCRATCH_RUN].tolist() == pytest.approx([0.6, 0.6])
    assert table.values[RUN].tolist() == pytest.approx([0.5, 0.7])
    assert table.wrongly_found[RUN] == 1
    assert table.absent == ()


def test_one_class_needs_no_mean() -> None:
    assert list(build_tables(_scores("dice", "organ", {RUN: [0.5]}))) == [("dice", "organ")]


def test_a_training_that_lacks_a_case_is_named_and_left_out() -> None:
    scores = _scores("dice", "organ", {SCRATCH_RUN: [0.8, 0.7], RUN: [0.9]})
    table = build_tables(scores)["dice", "organ"]
    assert table.incomplete == (RUN,)
    assert list(table.values) == [SCRATCH_RUN]


def test_a_class_that_nobody_has_gives_no_table() -> None:
    scores = _scores("dice", "organ", {RUN: [math.nan, math.nan]})
    scores += _scores("hd95", "tumour", {RUN: [math.inf, math.inf]})
    assert build_tables(scores) == {}
