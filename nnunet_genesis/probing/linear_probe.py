"""A linear probe: logistic regression on frozen features, judged by scans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from nnunet_genesis.probing.folds import deal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nnunet_genesis.probing.folds import Split

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the regularisation (scikit-learn's C) that are tried (ours)."""
UNTRIED_STRENGTH = 1e-2
"""What is taken where a class has one group, so that none can be tried on."""
INNER_FOLDS = 5
RESAMPLINGS = 2000
"""Bootstrap samples."""


@dataclass(frozen=True)
class ProbeOutcome:
    """How well a label is read from features.

    Attributes:
        classes: Names of the labels.
        balanced_accuracy: Mean over classes of the share of patches that are right; a scan counts as one.
        low: Lower end of the 95 % interval.
        high: Upper end.
        recalls: Share that is right per class.
        correct: Share of the patches that are right, per tested scan in the order of `Split.tested`.
        strengths: The C of every fold.
    """

    classes: tuple[str, ...]
    balanced_accuracy: float
    low: float
    high: float
    recalls: tuple[float, ...]
    correct: tuple[float, ...]
    strengths: tuple[float, ...]

    @property
    def chance(self) -> float:
        """Balanced accuracy of guessing."""
        return 1 / len(self.classes)


def probe(
    features: npt.NDArray[np.float32],
    labels: Sequence[Sequence[str]],
    groups: Sequence[str],
    split: Split,
    generator: np.random.Generator,
) -> ProbeOutcome:
    """Train and test a linear probe.

    Features are standardised by the training patches, classes weigh the same, and the strength of the regularisation is
    chosen by cross-validation over groups of training scans.

    Args:
        features: (scans, patches, features).
        labels: Of every patch of every scan; at least two different ones, all of them on both sides of the split.
        groups: Of every scan.
        split: Who tests whom.
        generator: Decides the inner folds and the bootstrap samples.
    """
    # Numbered as they come: where every source has a modality of its own, both probes are the same one.
    classes = list(dict.fromkeys(label for own in labels for label in own))
    targets = np.array([[classes.index(label) for label in own] for own in labels])
    names = np.array(groups)
    patches = features.shape[1]
    correct = []
    strengths = []
    for train, test in split.folds:
        model, strength = _fit(features[train], targets[train], names[train], generator)
        predicted = model.predict(features[test].reshape(-1, features.shape[2])).reshape(-1, patches)
        correct.append(predicted == targets[test])
        strengths.append(strength)
    right, tested = np.concatenate(correct).astype(np.float64), targets[split.tested].reshape(-1)
    recalls = _recalls(right.reshape(-1), tested, len(classes))
    low, high = bootstrap(right.reshape(-1), tested, np.repeat(names[split.tested], patches), generator)
    return ProbeOutcome(
        classes=tuple(classes),
        balanced_accuracy=float(recalls.mean()),
        low=low,
        high=high,
        recalls=tuple(recalls.tolist()),
        correct=tuple(right.mean(axis=1).tolist()),
        strengths=tuple(strengths),
    )


def bootstrap(
    correct: npt.NDArray[np.float64],
    targets: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_],
    generator: np.random.Generator,
) -> tuple[float, float]:
    """95 % interval of the balanced accuracy: groups are drawn with replacement, among those of the same classes.

    Args:
        correct: (scans or patches,) share that is right.
        targets: (scans or patches,) number of the class.
        groups: (scans or patches,) names.
        generator: Decides the samples.

    Returns:
        Lower and upper end.
    """
    count = int(targets.max()) + 1
    names, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.zeros((2, len(names), count))
    np.add.at(sums, (group, targets), correct)
    np.add.at(sizes, (group, targets), 1)
    # Every sample has all classes, as many groups of each kind as there are.
    _, kind = np.unique(sizes > 0, axis=0, return_inverse=True)
    kinds = [np.flatnonzero(kind.reshape(-1) == one) for one in range(int(kind.max()) + 1)]
    drawn = np.concatenate([generator.choice(mine, (RESAMPLINGS, len(mine))) for mine in kinds], axis=1)
    accuracies = (sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)).mean(axis=1)
    low, high = np.quantile(accuracies, (0.025, 0.975)).tolist()
    return low, high


def _fit(
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_],
    generator: np.random.Generator,
) -> tuple[Pipeline, float]:
    """Choose the strength, then fit on all patches of (scans, patches, features), with targets (scans, patches)."""
    _, patches, count = features.shape
    vectors, classes = features.reshape(-1, count), targets.reshape(-1)
    fold = deal(classes, np.repeat(groups, patches), INNER_FOLDS, generator)
    strength = _choose_strength(vectors, classes, fold)
    model = make_pipeline(StandardScaler(), _regression().set_params(C=strength))
    return model.fit(vectors, classes), strength


def _choose_strength(
    features: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], fold: npt.NDArray[np.int64]
) -> float:
    """Choose the strength with the best balanced accuracy over folds, of equally good ones the strongest.

    Args:
        features: (patches, features).
        targets: (patches,) numbers.
        fold: (patches,) numbers.
    """
    folds = np.unique(fold)
    present = len(np.unique(targets))
    if len(folds) < 2 or any(len(np.unique(targets[fold != one])) < present for one in folds):
        return UNTRIED_STRENGTH
    correct = np.zeros((len(STRENGTHS), len(targets)))
    for one in folds:
        train, test = fold != one, fold == one
        scaler = StandardScaler().fit(features[train])
        x_train, x_test = (scaler.transform(features[side]) for side in (train, test))
        model = _regression().set_params(warm_start=True)
        for number, strength in enumerate(STRENGTHS):
            model.set_params(C=strength).fit(x_train, targets[train])
            correct[number, test] = model.predict(x_test) == targets[test]
    accuracies = [_recalls(right, targets, present).mean() for right in correct]
    return STRENGTHS[int(np.argmax(np.round(accuracies, 6)))]


def _regression() -> LogisticRegression:
    return LogisticRegression(class_weight="balanced", max_iter=5000)


def _recalls(correct: npt.NDArray[np.float64], targets: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    return np.array([correct[targets == one].mean() for one in range(count)])
