"""Who tests whom: a group of scans is on one side, and what a pretraining learned from never tests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

HELD_OUT = "held-out scans"
CROSS_VALIDATION = "cross-validation"
MAX_FOLDS = 10
MINIMUM_TRAINING_SCANS = 3
"""Scans of a source besides those that test, at least, for a single split (ours)."""


@dataclass(frozen=True)
class Split:
    """One way to divide scans.

    Attributes:
        kind: `HELD_OUT` or `CROSS_VALIDATION`.
        folds: Per fold the numbers of the scans that a probe is trained on, and of those that it is tested on.
    """

    kind: str
    folds: tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], ...]

    @property
    def tested(self) -> npt.NDArray[np.int64]:
        """Numbers of all scans that are tested on, fold after fold; each is there once."""
        return np.concatenate([test for _, test in self.folds])


def divide(
    classes: Sequence[int], groups: Sequence[str], may_test: Sequence[bool], generator: np.random.Generator
) -> Split:
    """Test on all scans that may test: at once where enough others are left to train on, else fold by fold.

    Args:
        classes: Number of the source of every scan.
        groups: Its group; all scans of a group are on one side.
        may_test: Whether it may test; the same for all scans of a group.
        generator: Decides the folds.

    Raises:
        SetupError: If the groups cannot be divided so that every source is on both sides.
    """
    sources, names, testing = np.array(classes), np.array(groups), np.array(may_test)
    everything = np.unique(sources)
    others = sources[~testing]
    if all((others == source).sum() >= MINIMUM_TRAINING_SCANS for source in everything):
        return Split(HELD_OUT, ((np.flatnonzero(~testing), np.flatnonzero(testing)),))
    numbers = np.flatnonzero(testing)
    fold = deal(sources[numbers], names[numbers], MAX_FOLDS, generator)
    sides = []
    for one in range(fold.max(initial=-1) + 1):
        test = numbers[fold == one]
        train = np.setdiff1d(np.arange(len(sources)), test)
        sides.append((train, test))
    if len(sides) < 2 or any(len(np.unique(sources[train])) < len(everything) for train, _ in sides):
        raise SetupError(
            f"{len(numbers)} scans can test a probe, and their groups cannot be divided so that every source is left"
            " to train on",
            mend="more scans per source (--scans), or smaller groups (--groups)",
        )
    return Split(CROSS_VALIDATION, tuple(sides))


def deal(
    classes: npt.NDArray[np.int64], groups: npt.NDArray[np.str_], most: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Deal groups to folds so that every fold has about as many scans of every class.

    Folds that lack a class would leave more of it on the other side, and a probe that guesses by frequency would then
    be wrong more often than by chance.

    Args:
        classes: (scans,) numbers.
        groups: (scans,) names.
        most: Folds at most; as many as the rarest class has groups, if these are fewer.
        generator: Decides the order within groups of the same classes.

    Returns:
        (scans,) number of the fold, all 0 where there is a class of one group.
    """
    members = {str(group): np.flatnonzero(groups == group) for group in np.unique(groups)}
    classes_of = {group: tuple(np.unique(classes[scans]).tolist()) for group, scans in members.items()}
    found = np.unique(classes).tolist()
    count = min(most, *(sum(one in held for held in classes_of.values()) for one in found)) if found else 0
    fold = np.zeros(len(classes), dtype=np.int64)
    if count < 2:
        return fold
    kinds = Counter(classes_of.values())
    shuffled = [str(group) for group in generator.permutation(sorted(members))]
    held = np.zeros((count, max(found) + 1), dtype=np.int64)
    # Groups of rare kinds first: what comes later evens out.
    for group in sorted(shuffled, key=lambda group: (kinds[classes_of[group]], classes_of[group])):
        mine = list(classes_of[group])
        emptiest = min(range(count), key=lambda one: (held[one, mine].sum(), held[one].sum()))
        fold[members[group]] = emptiest
        np.add.at(held[emptiest], classes[members[group]], 1)
    return fold
