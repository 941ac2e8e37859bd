"""What is not defined: a class that is not there, and a class that was not found."""

from __future__ import annotations

import math

import pytest

from nnunet_genesis.benchmark.scores import SCRATCH, CaseScore, RunKey
from nnunet_genesis.benchmark.statistics.metric_table import MEAN_OF_CLASSES, build_tables

SCRATCH_RUN, RUN = RunKey(SCRATCH, 5, "standard", 0), RunKey("mg", 5, "standard", 0)


def _scores(
    metric: str, label: str, values: dict[RunKey, list[float]], in_reference: tuple[bool, ...] | None = None
) -> list[CaseScore]:
    return [
        CaseScore(
            run,
            *(f"case_{number}", f"patient_{number // 2}", label, metric, value),
            None if in_reference is None else in_reference[number],
        )
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


@pytest.mark.parametrize("others", [{}, {RunKey("rightly finds nothing", 5, "standard", 0): [0.7, 0.6, math.nan]}])
def test_a_case_whose_reference_lacks_the_class_is_left_out_though_all_predict_it(
    others: dict[RunKey, list[float]],
) -> None:
    has = (True, True, False)
    scores = _scores("dice", "tumour", {SCRATCH_RUN: [0.8, 0.0, 0.0], RUN: [0.9, 0.7, 0.0]} | others, has)
    scores += _scores("hd95", "tumour", {SCRATCH_RUN: [3.0, 60.0, 60.0], RUN: [2.0, 2.0, 60.0]} | others, has)
    scores += _scores("dice", "organ", {run: [0.4, 0.4, 0.4] for run in (SCRATCH_RUN, RUN, *others)}, (True,) * 3)
    tables = build_tables(scores)
    for metric in ("dice", "hd95"):
        table = tables[metric, "tumour"]
        assert (table.cases, table.absent) == (("case_0", "case_1"), ("case_2",))
        assert table.missed == {SCRATCH_RUN: 1, RUN: 0} | dict.fromkeys(others, 0)
        assert table.wrongly_found == {SCRATCH_RUN: 1, RUN: 1} | dict.fromkeys(others, 0)
    assert tables["hd95", "tumour"].values[RUN].tolist() == [2.0, 2.0]
    mean = tables["dice", MEAN_OF_CLASSES].values
    assert mean[SCRATCH_RUN].tolist() == pytest.approx([0.6, 0.2, 0.4])
    assert mean[RUN].tolist() == pytest.approx([0.65, 0.55, 0.4])


def test_one_telling_of_the_reference_counts_for_trainings_scored_by_an_earlier_version(
    caplog: pytest.LogCaptureFixture,
) -> None:
    earlier = _scores("dice", "organ", {SCRATCH_RUN: [0.8, 0.0]})
    assert build_tables(earlier)["dice", "organ"].missed == {SCRATCH_RUN: 1}
    assert "organ: the Dice of all trainings is 0 in 1 case(s), the first is case_1" in caplog.text
    caplog.clear()
    table = build_tables(earlier + _scores("dice", "organ", {RUN: [0.9, 0.0]}, (True, False)))["dice", "organ"]
    assert (table.cases, table.absent) == (("case_0",), ("case_1",))
    assert table.wrongly_found == {SCRATCH_RUN: 1, RUN: 1}
    assert not caplog.text


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


def test_the_mean_of_classes_leaves_out_a_training_that_lacks_a_case_of_one_class() -> None:
    scores = _scores("dice", "organ", {SCRATCH_RUN: [0.8, 0.6], RUN: [0.9, 0.7]})
    scores += _scores("dice", "tumour", {SCRATCH_RUN: [0.4, 0.2], RUN: [0.1]})
    table = build_tables(scores)["dice", MEAN_OF_CLASSES]
    assert table.incomplete == (RUN,)
    assert list(table.values) == [SCRATCH_RUN]
    assert table.values[SCRATCH_RUN].tolist() == pytest.approx([0.6, 0.4])
