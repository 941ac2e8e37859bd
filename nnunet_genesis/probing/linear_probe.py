"""A linear probe: logistic regression on frozen features, judged by scans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
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
INNER_FOLDS = 4
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
    labels: Sequence[str],
    groups: Sequence[str],
    split: Split,
    generator: np.random.Generator,
) -> ProbeOutcome:
    """Train and test a linear probe.

    Features are standardised by the training patches, classes weigh the same, and the strength of the regularisation is
    chosen by cross-validation over groups of training scans.

    Args:
        features: (scans, patches, features).
        labels: Of every scan; at least two different ones, all of them on both sides of the split.
        groups: Of every scan.
        split: Who tests whom.
        generator: Decides the inner folds and the bootstrap samples.
    """
    classes, targets = np.unique(np.array(labels), return_inverse=True)
    names = np.array(groups)
    patches = features.shape[1]
    correct = []
    strengths = []
    for train, test in split.folds:
        model, strength = _fit(features[train], targets[train], names[train], generator)
        predicted = model.predict(features[test].reshape(-1, features.shape[2])).reshape(-1, patches)
        correct.append((predicted == targets[test, None]).mean(axis=1))
        strengths.append(strength)
    tested, right = split.tested, np.concatenate(correct)
    recalls = _recalls(right, targets[tested], len(classes))
    low, high = bootstrap(right, targets[tested], names[tested], generator)
    return ProbeOutcome(
        classes=tuple(str(name) for name in classes),
        balanced_accuracy=float(recalls.mean()),
        low=low,
        high=high,
        recalls=tuple(recalls.tolist()),
        correct=tuple(right.tolist()),
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
        correct: (scans,) share of patches that are right.
        targets: (scans,) number of the class.
        groups: (scans,) names.
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
) -> tuple[GridSearchCV | LogisticRegression, float]:
    """Choose the strength, then fit on all; of equally good strengths the strongest regularisation is taken."""
    _, patches, count = features.shape
    flat, flat_targets = features.reshape(-1, count), np.repeat(targets, patches)
    fold = deal(targets, groups, INNER_FOLDS, generator)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))
    present = len(np.unique(targets))
    numbers = range(int(fold.max()) + 1)
    if len(numbers) < 2 or any(len(np.unique(targets[fold != one])) < present for one in numbers):
        model.set_params(logisticregression__C=UNTRIED_STRENGTH)
        return model.fit(flat, flat_targets), UNTRIED_STRENGTH
    of_patch = np.repeat(fold, patches)
    sides = [(np.flatnonzero(of_patch != one), np.flatnonzero(of_patch == one)) for one in numbers]
    search = GridSearchCV(
        model, {"logisticregression__C": list(STRENGTHS)}, scoring="balanced_accuracy", cv=sides, error_score="raise"
    )
    search.fit(flat, flat_targets)
    return search, float(search.best_params_["logisticregression__C"])


def _recalls(correct: npt.NDArray[np.float64], targets: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    return np.array([correct[targets == one].mean() for one in range(count)])
