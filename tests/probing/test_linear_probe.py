"""The probe itself, on features whose content is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nnunet_genesis.errors import SetupError
from nnunet_genesis.probing.folds import CROSS_VALIDATION, HELD_OUT, deal, divide
from nnunet_genesis.probing.linear_probe import bootstrap, probe

if TYPE_CHECKING:
    import numpy.typing as npt

    from nnunet_genesis.probing.linear_probe import ProbeOutcome

PATCHES, FEATURES = 5, 24


def draw_features(
    scans: int, seed: int, shift: npt.NDArray[np.float64] | float = 0.0, *, patch_noise: float = 0.3
) -> npt.NDArray[np.float32]:
    """Every scan has a place of its own in feature space, its patches lie closely around it."""
    generator = np.random.default_rng(seed)
    own = generator.normal(size=(scans, 1, FEATURES)) + np.broadcast_to(np.asarray(shift), (scans,))[:, None, None]
    patches = own + patch_noise * generator.normal(size=(scans, PATCHES, FEATURES))
    return np.asarray(patches, dtype=np.float32)


def run(features: npt.NDArray[np.float32], labels: list[str], seed: int = 0) -> ProbeOutcome:
    names = [f"scan {number}" for number in range(len(labels))]
    numbers = np.unique(labels, return_inverse=True)[1].tolist()
    split = divide(numbers, names, [True] * len(labels), np.random.default_rng(seed))
    of_patches = [[label] * PATCHES for label in labels]
    return probe(features, of_patches, names, split, np.random.default_rng(seed))


def test_patches_of_one_scan_may_have_labels_of_their_own() -> None:
    """As channels of a scan have: told apart where features differ by patch, at chance where they do not."""
    labels = [["a", "b", "a", "b", "a"] for _ in range(12)]
    names = [f"scan {number}" for number in range(12)]
    split = divide([0] * 12, names, [True] * 12, np.random.default_rng(0))
    features = draw_features(12, 0)
    at_chance = probe(features, labels, names, split, np.random.default_rng(0))
    assert at_chance.low <= 0.5 <= at_chance.high
    features[:, 1::2, 0] += 12
    told = probe(features, labels, names, split, np.random.default_rng(0))
    assert told.classes == ("a", "b")
    assert told.balanced_accuracy > 0.95
    assert len(told.correct) == 12, "per scan"


def test_scans_of_one_distribution_are_told_apart_no_better_than_by_chance() -> None:
    labels = ["a"] * 8 + ["b"] * 8
    outcomes, memorised = [], []
    for seed in range(6):
        features = draw_features(16, seed)
        outcomes.append(run(features, labels, seed))
        model = make_pipeline(StandardScaler(), LogisticRegression())
        # The same features divided by patches: every scan is on both sides, and is recognised.
        flat = features.transpose(1, 0, 2).reshape(-1, FEATURES)
        memorised.append(cross_val_score(model, flat, labels * PATCHES, cv=PATCHES).mean())
    assert np.mean(memorised) > 0.9
    accuracies = [outcome.balanced_accuracy for outcome in outcomes]
    # A scan is right or wrong as a whole: 6 times 16 scans have a standard error of 0.05.
    assert abs(np.mean(accuracies) - 0.5) < 0.15
    assert sum(outcome.low <= 0.5 <= outcome.high for outcome in outcomes) >= 4


def test_what_is_in_the_features_is_found_in_spite_of_unequal_classes() -> None:
    labels = ["a"] * 6 + ["b"] * 14 + ["c"] * 8
    shift = np.repeat([0.0, 1.2, 2.4], (6, 14, 8))
    outcome = run(draw_features(28, 0, shift), labels)
    assert outcome.classes == ("a", "b", "c")
    assert outcome.chance == pytest.approx(1 / 3)
    assert outcome.low > 0.7
    assert outcome.balanced_accuracy == pytest.approx(np.mean(outcome.recalls))
    assert outcome.low <= outcome.balanced_accuracy <= outcome.high
    renamed = run(draw_features(28, 0, shift), [{"a": "z", "b": "y", "c": "x"}[label] for label in labels])
    assert renamed.correct == outcome.correct, "names of labels have no influence"
    again = run(draw_features(28, 0, shift), labels)
    assert again == outcome, "the same seed gives the same outcome"


def test_the_interval_is_that_of_scans_not_of_patches() -> None:
    """Against the standard error of a mean of independent scans."""
    generator = np.random.default_rng(0)
    correct = (generator.random(80) < 0.7).astype(float)
    targets = np.repeat([0, 1], 40)
    alone = np.array([f"scan {number}" for number in range(80)])
    low, high = bootstrap(correct, targets, alone, generator)
    error = np.sqrt(sum(correct[targets == one].var() / 40 for one in (0, 1))) / 2
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    # Four equal scans per group know as much as one.
    correct, targets, alone = (np.repeat(values, 4) for values in (correct, targets, alone))
    wide_low, wide_high = bootstrap(correct, targets, alone, generator)
    assert wide_high - wide_low == pytest.approx(high - low, rel=0.1)


def test_held_out_scans_test_at_once_where_others_are_left_to_train_on() -> None:
    sources = [0] * 8 + [1] * 8
    may_test = ([False] * 5 + [True] * 3) * 2
    names = [str(number) for number in range(16)]
    split = divide(sources, names, may_test, np.random.default_rng(0))
    assert split.kind == HELD_OUT
    ((train, test),) = split.folds
    assert test.tolist() == np.flatnonzero(may_test).tolist()
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(16))


def test_folds_test_every_scan_that_may_and_no_other() -> None:
    sources = [0] * 8 + [1] * 8
    may_test = [False] * 5 + [True] * 11
    names = [str(number) for number in range(16)]
    split = divide(sources, names, may_test, np.random.default_rng(0))
    assert split.kind == CROSS_VALIDATION
    assert sorted(split.tested.tolist()) == np.flatnonzero(may_test).tolist()
    for train, test in split.folds:
        assert not set(train.tolist()) & set(test.tolist())
        assert len(train) + len(test) == 16
        assert {0, 1} == {sources[number] for number in test.tolist()}, "every fold has every source"


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_on_one_side(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sources = generator.integers(0, 3, size=60)
    groups = np.array([f"patient {number}" for number in generator.integers(0, 20, size=60)])
    split = divide(sources.tolist(), groups.tolist(), [True] * 60, generator)
    for train, test in split.folds:
        assert not set(groups[train]) & set(groups[test])
    fold = deal(sources, groups, 5, generator)
    assert len(np.unique(fold)) == 5
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 8


def test_groups_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(SetupError, match="cannot be divided so that every source is left to train on"):
        divide([0, 0, 1, 1], ["p", "p", "q", "r"], [True] * 4, np.random.default_rng(0))
