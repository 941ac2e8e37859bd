"""Labels and epochs that pretraining saves, on tables worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnunet_genesis.benchmark.reporting.arm_tables import saving_table
from nnunet_genesis.benchmark.scores import SCRATCH, EpochScore, RunKey
from nnunet_genesis.benchmark.statistics.comparison import Arm
from nnunet_genesis.benchmark.statistics.convergence import convergence, mean_curve, smooth, smoothed_curves
from nnunet_genesis.benchmark.statistics.metric_table import MetricTable, build_tables
from nnunet_genesis.benchmark.statistics.savings import label_savings
from tests.benchmark.simulation import case_scores

NOISE = np.random.default_rng(0).normal(0, 0.004, (3, 30))


def _table(curves: dict[str, dict[int, float]], metric: str = "dice") -> MetricTable:
    scores = []
    for initialisation, curve in curves.items():
        for labelled, mean in curve.items():
            noise = np.roll(NOISE, labelled, axis=1) * (1 if initialisation == SCRATCH else -1)
            scores += case_scores(mean + noise - noise.mean(), initialisation, labelled, metric)
    return build_tables(scores)[metric, "organ"]


def test_the_smallest_number_of_labels_that_reaches_scratch_with_all() -> None:
    table = _table({SCRATCH: {5: 0.5, 10: 0.6, 50: 0.80}, "mg": {5: 0.6, 10: 0.8005, 50: 0.85}})
    scratch, pretrained = label_savings(table, paired=False)
    assert (scratch.initialisation, scratch.reached, scratch.saved) == (SCRATCH, 50, 0)
    assert (pretrained.reached, pretrained.most) == (10, 50)
    assert pretrained.saved == pytest.approx(0.8)
    # With 10 labels the interval includes both signs, so that only 50 are shown to be as good.
    assert (pretrained.earliest, pretrained.latest) == (10, 50)
    assert pretrained.steps[10].low < 0 < pretrained.steps[10].high


def test_a_saving_is_told_with_what_is_shown_of_it() -> None:
    table = _table({SCRATCH: {5: 0.5, 10: 0.6, 50: 0.80}, "mg": {5: 0.6, 10: 0.8005, 50: 0.85}})
    assert [row[-1] for row in saving_table(label_savings(table, paired=False)).rows[1:]] == [
        "0 % (0 % to 0 %)",
        "80 % (0 % to 80 %)",
    ]
    level = _table({SCRATCH: {5: 0.5, 50: 0.80}, "mg": {5: 0.8005, 50: 0.8005}})
    assert saving_table(label_savings(level, paired=False)).rows[2][-2:] == ("5 to not reached", "not shown")


def test_one_training_each_shows_no_saving_whatever_its_interval_over_patients() -> None:
    table = _table({SCRATCH: {5: 0.5, 10: 0.6, 50: 0.80}, "mg": {5: 0.6, 10: 0.85, 50: 0.9}})
    values = {run: scores for run, scores in table.values.items() if run.seed == 0}
    pretrained = label_savings(replace(table, values=values), paired=False)[1]
    assert pretrained.steps[10].low > 0
    assert (pretrained.reached, pretrained.earliest, pretrained.latest) == (10, None, None)
    assert saving_table([pretrained]).rows[1][-2:] == ("not known (one seed)", "not shown")


def test_one_seed_that_does_not_decide_takes_nothing_away() -> None:
    table = _table({SCRATCH: {5: 0.5, 10: 0.6, 50: 0.80}, "mg": {5: 0.6, 10: 0.85, 50: 0.9}})
    values = {run: scores for run, scores in table.values.items() if run.seed == 0 or run.labelled != 5}
    pretrained = label_savings(replace(table, values=values), paired=False)[1]
    assert not pretrained.over_runs
    assert saving_table([pretrained]).rows[1][-2:] == ("10 to 10", "80 % (80 % to 80 %)")


def test_a_flat_curve_of_scratch_saves_labels_without_any_pretraining() -> None:
    table = _table({SCRATCH: {5: 0.801, 50: 0.80}, "mg": {5: 0.79, 50: 0.79}})
    scratch, pretrained = label_savings(table, paired=False)
    assert scratch.saved == pytest.approx(0.9)
    assert (pretrained.reached, pretrained.latest) == (None, None)
    assert np.isnan(pretrained.saved)


def test_a_number_that_larger_ones_fall_behind_is_not_reached() -> None:
    table = _table({SCRATCH: {5: 0.5, 10: 0.6, 50: 0.80}, "mg": {5: 0.9, 10: 0.7, 50: 0.85}})
    assert label_savings(table, paired=False)[1].reached == 50


def test_a_distance_is_reached_from_above() -> None:
    table = _table({SCRATCH: {5: 4.0, 50: 2.0}, "mg": {5: 1.5, 50: 1.0}}, "hd95")
    pretrained = label_savings(table, paired=False)[1]
    assert (pretrained.reached, pretrained.earliest, pretrained.latest) == (5, 5, 5)


def test_one_patient_shows_no_saving() -> None:
    """There is a mean, and no interval around it."""
    scores = [
        score
        for initialisation, labelled, mean in ((SCRATCH, 5, 0.5), (SCRATCH, 50, 0.8), ("mg", 5, 0.7), ("mg", 50, 0.9))
        for score in case_scores(np.full((3, 1), mean), initialisation, labelled)
    ]
    pretrained = label_savings(build_tables(scores)["dice", "organ"], paired=False)[1]
    assert (pretrained.reached, pretrained.earliest, pretrained.latest) == (50, None, None)


def test_seeds_that_share_no_labelled_cases_tell_no_saving() -> None:
    scores = case_scores(np.full((2, 4), 0.5), SCRATCH, 5) + case_scores(np.full((2, 4), 0.8), SCRATCH, 50)
    others = case_scores(np.full((2, 4), 0.9), "mg", 5)
    scores += [replace(score, run=replace(score.run, seed=score.run.seed + 2)) for score in others]
    pretrained = label_savings(build_tables(scores)["dice", "organ"], paired=True)[1]
    assert (pretrained.steps, pretrained.reached) == ({}, None)


def test_one_number_of_labels_tells_no_saving() -> None:
    assert label_savings(_table({SCRATCH: {5: 0.5}, "mg": {5: 0.6}}), paired=False) == []


@pytest.mark.parametrize(("epochs", "window"), [(4, 3), (18, 3), (40, 4), (100, 10), (1000, 10)])
def test_smoothing_goes_over_a_tenth_of_the_epochs(epochs: int, window: int) -> None:
    values = np.random.default_rng(3).uniform(0, 1, epochs)
    smoothed = smooth(values)
    assert smoothed[window - 1 :] == pytest.approx(np.convolve(values, np.full(window, 1 / window), "valid"))
    assert smoothed[:window] == pytest.approx(np.cumsum(values[:window]) / np.arange(1, window + 1))


def test_epochs_without_a_value_change_nothing() -> None:
    assert np.isnan(smooth(np.full(40, np.nan))).all()
    values = np.array([np.nan, 1.0, np.nan, 3.0] + 6 * [np.nan] + 30 * [5.0])
    expected = [np.nan, 1.0, 1.0, 2.0, 2.0, 3.0] + 4 * [3.0] + 30 * [5.0]
    assert smooth(values).tolist() == pytest.approx(expected, nan_ok=True)


def test_a_short_training_that_is_quick_is_seen_to_be() -> None:
    slow = np.minimum(np.arange(1, 41) / 30, 1.0)
    quick = np.minimum(np.arange(1, 41) / 10, 1.0)
    scores = _epochs(SCRATCH, 0, slow.tolist()) + _epochs("mg", 0, quick.tolist())
    scratch, pretrained = convergence(smoothed_curves(scores), paired=False)
    assert (scratch.reached, pretrained.reached) == (33, 13)  # both means are three epochs late


def _epochs(initialisation: str, seed: int, values: list[float]) -> list[EpochScore]:
    run = RunKey(initialisation, 5, "standard", seed)
    mean = [EpochScore(run, epoch, "", value) for epoch, value in enumerate(values)]
    return mean + [EpochScore(run, epoch, "organ", 0.0) for epoch in range(len(values))]


def test_only_seeds_that_both_arms_have_are_compared_where_each_has_labelled_cases_of_its_own() -> None:
    good, bad = np.minimum(np.arange(1, 21) / 10, 1.0), np.minimum(np.arange(1, 21) / 40, 1.0)
    scores = [line for seed, one in enumerate((good, good, bad)) for line in _epochs(SCRATCH, seed, one.tolist())]
    scores += [line for seed in (0, 1) for line in _epochs("mg", seed, good.tolist())]
    curves = smoothed_curves(scores)
    first, pretrained = convergence(curves, paired=True)
    assert (first.reached, sorted(first.by_seed)) == (20, [0, 1, 2])
    assert (pretrained.reached, pretrained.target) == (12, 1.0), "as scratch does with these two seeds"
    assert convergence(curves, paired=False)[1].reached == 10, "less is asked of it where seeds are no pairs"


def test_epochs_until_scratchs_end_is_reached() -> None:
    scores = _epochs(SCRATCH, 0, [0.0] * 9 + [3.0]) + _epochs(SCRATCH, 1, [0.0] * 9 + [6.0])
    scores += _epochs("mg", 0, [0.0, 3.0, 6.0, 9.0]) + _epochs("mg", 1, [0.0] * 4) + _epochs("slow", 0, [0.0] * 10)
    scratch, fast, slow = convergence(smoothed_curves(scores), paired=False)
    # Means over three epochs: scratch ends with 1 and 2, the other one goes 0, 1.5, 3, 6.
    assert scratch.target == pytest.approx(1.5)
    assert (scratch.reached, scratch.epochs, scratch.by_seed) == (10, 10, {0: None, 1: 10})
    assert fast.arm == Arm("mg", 5, "standard")
    assert (fast.reached, fast.by_seed) == (3, {0: 2, 1: None})
    assert (slow.reached, slow.by_seed) == (None, {0: None})


def test_a_mean_over_trainings_ends_with_the_shortest() -> None:
    assert mean_curve([np.array([0.1, 0.3, 0.5]), np.array([0.3, 0.5])]).tolist() == pytest.approx([0.2, 0.4])


def test_the_end_to_reach_is_that_of_scratch_with_the_same_schedule() -> None:
    """Warm-up ends elsewhere than the standard schedule, from scratch, too."""
    scores = _epochs(SCRATCH, 0, [0.5] * 10)
    warmups = _epochs(SCRATCH, 0, [0.8] * 10) + _epochs("mg", 0, [0.6] * 5 + [0.9] * 5)
    scores += [replace(score, run=replace(score.run, schedule="warmup")) for score in warmups]
    targets = {found.arm: found.target for found in convergence(smoothed_curves(scores), paired=False)}
    assert targets == {
        Arm(SCRATCH, 5, "standard"): pytest.approx(0.5),
        Arm(SCRATCH, 5, "warmup"): pytest.approx(0.8),
        Arm("mg", 5, "warmup"): pytest.approx(0.8),
    }
