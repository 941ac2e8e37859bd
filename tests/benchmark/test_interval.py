"""The interval of a gain: known special cases, and how often it misses the truth where that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nnunet_genesis.benchmark.statistics.interval import crossed_interval, crossed_terms, hierarchical_bootstrap
from tests.benchmark.simulation import Truth, simulate_arms

PATIENTS = 46
TIMES = 4000
STRICT = 0.05 + 3 * np.sqrt(0.05 * 0.95 / TIMES)
"""Share of misses that a correct interval exceeds once in 700 times."""


def _misses(truth: Truth, seeds: int, *, paired: bool = False) -> float:
    arm, control = simulate_arms(
        truth, np.random.default_rng(seeds), times=TIMES, seeds=(seeds, seeds), groups=PATIENTS
    )
    terms = crossed_terms(arm, control, paired=paired)
    return float((np.abs(terms.difference - truth.gain) > terms.half_width()).mean())


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("truth", [Truth(), Truth(runs=0.02), Truth(runs=0.005, gain=0.03)])
def test_the_interval_misses_the_truth_as_rarely_as_stated(truth: Truth, seeds: int) -> None:
    assert 0.01 < _misses(truth, seeds) < STRICT


@pytest.mark.parametrize("seeds", [3, 5])
def test_it_does_so_where_every_seed_has_its_own_labelled_cases(seeds: int) -> None:
    truth = Truth(runs=0.02, subsets=0.03)
    assert 0.01 < _misses(truth, seeds, paired=True) < STRICT
    # Pairing is what makes the shared labelled cases cancel; without it nothing is ever shown.
    assert _misses(truth, seeds) < 0.01


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_percentile_bootstrap_over_few_seeds_is_too_narrow(seeds: int) -> None:
    """The reason why the bootstrap decides nothing."""
    arms = simulate_arms(Truth(runs=0.02), np.random.default_rng(1), times=300, seeds=(seeds, seeds), groups=PATIENTS)
    ends = [hierarchical_bootstrap(*pair, paired=False, draws=300) for pair in zip(*arms, strict=True)]
    assert np.mean([low > 0 or high < 0 for low, high in ends]) > 0.1


def test_the_difference_is_not_biased_and_large_gains_are_found() -> None:
    arm, control = simulate_arms(Truth(gain=0.05), np.random.default_rng(2), times=TIMES, seeds=(3, 3), groups=PATIENTS)
    terms = crossed_terms(arm, control, paired=False)
    # Four standard errors of the mean over the simulations.
    assert terms.difference.mean() == pytest.approx(0.05, abs=4 * terms.difference.std() / np.sqrt(TIMES))
    assert (terms.difference > terms.half_width()).mean() > 0.9


def test_with_one_seed_it_is_students_interval_over_patients() -> None:
    arm, control = np.random.default_rng(3).normal(0.7, 0.1, (2, 1, 20))
    found = crossed_interval(arm, control, paired=False)
    expected = stats.ttest_1samp((arm - control)[0], 0)
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))
    assert found.p == pytest.approx(expected.pvalue)
    assert not found.over_runs


def test_one_seed_of_one_arm_alone_says_nothing_of_the_next() -> None:
    generator = np.random.default_rng(9)
    arm, control = generator.normal(0.7, 0.1, (1, 20)), generator.normal(0.7, 0.1, (3, 20))
    for paired in (False, True):
        found = crossed_interval(arm, control, paired=paired)
        expected = stats.ttest_1samp(arm[0] - control.mean(axis=0), 0)
        assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))
        assert not found.over_runs


def test_where_patients_do_not_differ_it_is_welchs_interval_over_trainings() -> None:
    generator = np.random.default_rng(4)
    means = generator.normal(0.7, 0.02, 4), generator.normal(0.68, 0.05, 3)
    arm, control = (np.repeat(part[:, None], 6, axis=1) for part in means)
    found = crossed_interval(arm, control, paired=False)
    expected = stats.ttest_ind(*means, equal_var=False)
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.over_runs


def test_where_patients_do_not_differ_it_is_the_paired_interval_over_seeds_that_share_labelled_cases() -> None:
    means = np.random.default_rng(5).normal(0.7, 0.02, (2, 4))
    arm, control = np.repeat(means[..., None], 6, axis=2)
    found = crossed_interval(arm, control, paired=True)
    expected = stats.ttest_rel(*means)
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))
    assert found.p == pytest.approx(expected.pvalue)


def test_its_p_value_is_below_a_level_where_the_interval_of_that_level_excludes_zero() -> None:
    arm, control = simulate_arms(Truth(gain=0.02), np.random.default_rng(6), times=40, seeds=(3, 3), groups=12)
    for paired in (False, True):
        found = [crossed_interval(*pair, paired=paired) for pair in zip(arm, control, strict=True)]
        assert [one.p < 0.05 for one in found] == [one.low > 0 or one.high < 0 for one in found]
        assert {one.p < 0.05 for one in found} == {True, False}


def test_equal_trainings_are_no_difference() -> None:
    same = np.zeros((3, 5))
    assert crossed_interval(same, same, paired=False).p == 1
    alone = crossed_interval(same[:, :1], same[:, :1] + 1, paired=False)
    assert alone.difference == -1
    assert np.isnan(alone.low)


def test_the_bootstrap_agrees_with_the_normal_interval_of_many_patients() -> None:
    arm, control = np.random.default_rng(7).normal(0.7, 0.1, (2, 1, 2000))
    low, high = hierarchical_bootstrap(arm, control, paired=False, draws=5000)
    differences = (arm - control)[0]
    half = 1.96 * differences.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((differences.mean() - half, differences.mean() + half), abs=0.08 * half)


def test_the_bootstrap_agrees_with_the_normal_interval_of_many_trainings() -> None:
    means = np.random.default_rng(8).normal(0.7, 0.1, (2, 2000))
    arm, control = np.repeat(means[..., None], 2, axis=2)
    half = 1.96 * np.sqrt(means.var(axis=1).sum() / 2000)
    low, high = hierarchical_bootstrap(arm, control, paired=False, draws=2000)
    assert high - low == pytest.approx(2 * half, rel=0.08)
    low, high = hierarchical_bootstrap(arm, control, paired=True, draws=2000)
    assert high - low == pytest.approx(2 * 1.96 * (means[0] - means[1]).std() / np.sqrt(2000), rel=0.08)


def test_the_bootstrap_of_the_same_scores_is_the_same() -> None:
    arm, control = np.random.default_rng(10).normal(0.7, 0.1, (2, 3, 8))
    first, again, other = (hierarchical_bootstrap(arm, control, paired=False, seed=seed) for seed in (0, 0, 1))
    assert first == again == hierarchical_bootstrap(arm, control, paired=False)
    assert first != other
