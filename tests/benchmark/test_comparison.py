"""The comparison with scratch, and how often its verdict is wrong where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from nnunet_genesis.benchmark.scores import RunKey
from nnunet_genesis.benchmark.statistics.comparison import Comparison, compare, score_arms
from nnunet_genesis.benchmark.statistics.metric_table import MetricTable, build_tables
from nnunet_genesis.benchmark.statistics.verdict import Verdict, explain, judge
from tests.benchmark.simulation import Truth, case_scores, simulate_arms, simulate_family

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATIENTS, TIMES = 46, 200
MOST = int(stats.binom.ppf(0.999, TIMES, 0.05))
"""So many false positives of so many are still in line with 5 %."""


def _compare(arm: NDArray[np.float64], control: NDArray[np.float64], metric: str = "dice") -> Comparison:
    tables = build_tables(case_scores(arm, "mg", metric=metric) + case_scores(control, metric=metric))
    (found,) = compare(tables[metric, "organ"], paired=False)
    return found


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_an_effect_the_verdict_is_rarely_better_or_worse(seeds: int) -> None:
    """Patients without a test of the trainings would be fooled by the runs' own spread: that is counted, too."""
    truth = Truth(runs=0.015, noise=0.02)
    arms = simulate_arms(truth, np.random.default_rng(seeds), times=TIMES, seeds=(seeds, seeds), groups=PATIENTS)
    found = [_compare(*pair) for pair in zip(*arms, strict=True)]
    assert sum(judge(one) is not Verdict.NONE for one in found) <= MOST
    assert np.mean([one.wilcoxon < 0.05 for one in found]) > 0.3


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_whole_family_has_few_false_verdicts(seeds: int) -> None:
    """Six comparisons without any effect: at least one false verdict in 5 % of the benchmarks at most."""
    generator = np.random.default_rng(11)
    false = 0
    for _ in range(TIMES // 2):
        scores = simulate_family(Truth(), generator, seeds=seeds, groups=20, labelled=(5, 10, 20), pretrainings=2)
        found = compare(build_tables(scores)["dice", "organ"], paired=False)
        assert [entry.family for entry in found] == [6] * 6
        false += any(judge(entry) is not Verdict.NONE for entry in found)
    assert false <= stats.binom.ppf(0.999, TIMES // 2, 0.05)


@pytest.mark.parametrize(
    ("gain", "metric", "expected"),
    [
        (0.06, "dice", Verdict.BETTER),
        (-0.06, "dice", Verdict.WORSE),
        (0.06, "hd95", Verdict.WORSE),
    ],
)
def test_a_large_effect_is_found_with_its_direction(gain: float, metric: str, expected: Verdict) -> None:
    arms = simulate_arms(Truth(gain=gain), np.random.default_rng(5), times=50, seeds=(5, 5), groups=PATIENTS)
    verdicts = [judge(_compare(*pair, metric=metric)) for pair in zip(*arms, strict=True)]
    assert verdicts.count(expected) > 45
    assert set(verdicts) <= {expected, Verdict.NONE}


def test_one_seed_never_shows_anything_about_pretraining() -> None:
    arm, control = np.full((2, 1, 20), 0.5) + np.random.default_rng(1).normal(0, 0.01, (2, 1, 20))
    found = _compare(arm + 0.2, control)
    assert judge(found) is Verdict.NONE
    assert explain(found) == "better in these trainings alone: one seed says nothing of the next"
    assert np.isnan(found.scratch.deviation)


def test_what_is_no_difference_says_what_is_missing() -> None:
    arms = simulate_arms(Truth(), np.random.default_rng(8), times=1, seeds=(3, 3), groups=20)
    assert explain(_compare(arms[0][0], arms[1][0])) == "no difference shown"
    scores = []
    for labelled in range(1, 7):
        arm, control = simulate_arms(
            Truth(gain=0.04), np.random.default_rng(labelled), times=1, seeds=(3, 3), groups=20
        )
        scores += case_scores(arm[0], "mg", labelled) + case_scores(control[0], labelled=labelled)
    texts = [explain(entry) for entry in compare(build_tables(scores)["dice", "organ"], paired=False)]
    assert "no difference shown after correction for 6 comparisons (alone: better)" in texts


@pytest.mark.parametrize(("seeds", "paired"), [(2, False), (3, False), (2, True)])
def test_two_seeds_are_too_few_for_several_comparisons(seeds: int, *, paired: bool) -> None:
    """At the small levels that a correction asks for their interval excludes zero several times too often."""
    truth = Truth(gain=0.3, runs=0.001)
    scores = []
    for labelled in (5, 10, 20):
        arm, control = simulate_arms(truth, np.random.default_rng(labelled), times=1, seeds=(seeds, seeds), groups=30)
        scores += case_scores(arm[0], "mg", labelled) + case_scores(control[0], labelled=labelled)
    found = compare(build_tables(scores)["dice", "organ"], paired=paired)
    assert all(entry.interval_holm < 0.05 and entry.wilcoxon_holm < 0.05 for entry in found)
    few = "no difference shown: two seeds are too few for 3 comparisons (alone: better)"
    assert [explain(entry) for entry in found] == [few if seeds == 2 and not paired else "better"] * 3
    assert judge(replace(found[0], family=1)) is Verdict.BETTER


def test_patients_count_once_however_many_scans_they_have() -> None:
    values = {RunKey("scratch", 5, "standard", 0): np.zeros(3), RunKey("mg", 5, "standard", 0): np.array([1.0, 1, 0])}
    nobody = dict.fromkeys(values, 0)
    table = MetricTable("dice", "organ", ("a", "b", "c"), ("p", "p", "q"), values, nobody, (), nobody, ())
    (found,) = compare(table, paired=False)
    assert found.by_group == (1, 0)
    assert found.interval.difference == 0.5


def test_the_spread_of_scratch_is_that_of_its_trainings_means() -> None:
    control = np.array([[0.5, 0.7], [0.6, 0.8], [0.4, 0.9]])
    found = _compare(control[:2] + 0.1, control)
    assert found.scratch.deviation == pytest.approx(np.std([0.6, 0.7, 0.65], ddof=1))
    assert (found.pretrained.seeds, found.scratch.seeds) == ((0, 1), (0, 1, 2))
    assert found.interval.difference == pytest.approx(0.75 - 0.65)


def test_seeds_with_their_own_labelled_cases_are_compared_where_both_arms_have_them() -> None:
    control = np.array([[0.5, 0.7], [0.6, 0.8], [0.4, 0.9]])
    tables = build_tables(case_scores(control[1:] + 0.1, "mg") + case_scores(control))
    (found,) = compare(tables["dice", "organ"], paired=True)
    # Seeds 0 and 1 of the pretrained arm are rows 1 and 2, and are compared with rows 0 and 1.
    assert found.by_group == pytest.approx((0.5 + 0.1 - 0.55, 0.85 + 0.1 - 0.75))
    assert (found.pretrained.seeds, found.scratch.seeds) == ((0, 1), (0, 1))
    assert found.pretrained.mean - found.scratch.mean == pytest.approx(found.interval.difference)


def test_without_a_scratch_there_is_nothing_to_compare() -> None:
    table = build_tables(case_scores(np.full((2, 3), 0.5), "mg"))["dice", "organ"]
    assert compare(table, paired=False) == []
    assert len(score_arms(table)) == 1


@pytest.mark.parametrize(
    ("gains", "missing"),
    [
        # The best that Wilcoxon's test can say of five is p = 0.0625.
        ([0.2] * 5, "5 test patients are too few for Wilcoxon's test"),
        ([0.30, 0.31, 0.32, 0.33, 0.34, 0.35, -0.05, -0.06, -0.07, -0.08], "the patients' ranks do not agree"),
    ],
)
def test_what_wilcoxons_test_does_not_show_is_no_difference_shown(gains: list[float], missing: str) -> None:
    control = np.random.default_rng(12).normal(0.6, 0.001, (3, len(gains)))
    found = _compare(control[::-1] + gains, control)
    assert found.interval_holm < 0.05 < found.wilcoxon_holm
    assert judge(found) is Verdict.NONE
    assert explain(found) == f"no difference shown: {missing} (alone: better)"


def test_an_arm_is_compared_with_scratch_of_its_own_schedule() -> None:
    scores = case_scores(np.full((2, 3), 0.5))
    for initialisation, dice in (("scratch", 0.7), ("mg", 0.8)):
        of_warmup = case_scores(np.full((2, 3), dice), initialisation)
        scores += [replace(score, run=replace(score.run, schedule="warmup")) for score in of_warmup]
    (found,) = compare(build_tables(scores)["dice", "organ"], paired=False)
    assert (found.arm.initialisation, found.arm.schedule) == ("mg", "warmup")
    assert found.interval.difference == pytest.approx(0.1)


def test_cases_that_were_missed_are_counted_over_all_trainings() -> None:
    found = _compare(np.array([[0.0, 0.7, 0.0], [0.0, 0.8, 0.9]]), np.full((2, 3), 0.5))
    assert (found.pretrained.missed, found.scratch.missed) == (3, 0)
