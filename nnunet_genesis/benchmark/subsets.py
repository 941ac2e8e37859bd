"""Which cases are held out for the test, and which of the others are labelled: whole groups, drawn by a seed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

ALL = "all"
MINIMUM_CASES = 2
"""Labelled and test cases at least: nnU-Net cannot train on none, and one of each shows nothing (ours)."""


class Stream(IntEnum):
    """What random numbers are for; the values are part of what makes a benchmark repeatable."""

    TEST_SET = 0
    LABELLED = 1


@dataclass(frozen=True)
class TestSet:
    """What is held out.

    Attributes:
        cases: Judged after every training, sorted.
        left_out: Neither judged nor trained on, sorted: other cases of the same groups.
    """

    __test__ = False  # no class of tests

    cases: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Amount:
    """How many cases are labelled: a count, a share of what may be labelled, or all.

    Attributes:
        text: As the user wrote it: ``5``, ``20%`` or ``all``.
    """

    text: str

    def count(self, available: int) -> int:
        """Number of cases that it asks for, where so many may be labelled.

        Raises:
            SetupError: If there are not as many.
        """
        if self.text == ALL:
            return available
        if self.text.endswith("%"):
            wanted = math.ceil(float(self.text[:-1]) / 100 * available - 1e-9)
        else:
            wanted = int(self.text)
        if wanted > available:
            raise SetupError(
                f"--labelled {self.text}: only {available} cases are left beside the test set",
                mend=f"--labelled {available} or fewer, or --labelled {ALL}",
            )
        return max(1, wanted)


def parse_amount(text: str) -> Amount:
    """Read a value of ``--labelled``.

    Raises:
        SetupError: If it is no whole number from 1 on, no percentage above 0 and up to 100, and not "all".
    """
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", text, re.ASCII)
    is_count = re.fullmatch(r"[1-9]\d*", text, re.ASCII) is not None
    if text == ALL or is_count or (percent is not None and 0 < float(percent[1]) <= 100):
        return Amount(text)
    raise SetupError(
        f"--labelled {text}: a number of labelled cases is a count like 5, a share like 20%, or {ALL}",
        mend=f"--labelled 5 10 20% {ALL}",
    )


def draw_test_set(groups: Mapping[str, str], share: float, seed: int) -> TestSet:
    """Hold out whole groups until they have a share of the cases.

    Args:
        groups: Name of every case to its group.
        share: Of all cases, above 0 and below 1; groups are added until it is reached.
        seed: The same seed, cases and groups give the same test set.
    """
    if not 0 < share < 1:
        raise SetupError(f"--test-share {share:g}: a share lies between 0 and 1", mend="--test-share 0.2")
    order = _draw_order(groups, seed, Stream.TEST_SET)
    return TestSet(_take_groups(groups, order, math.ceil(share * len(groups) - 1e-9)), ())


def hold_out(groups: Mapping[str, str], cases: Collection[str]) -> TestSet:
    """Hold out the cases that the user names; others of their groups are left out altogether."""
    chosen = set(cases)
    touched = {groups[case] for case in chosen}
    return TestSet(
        tuple(sorted(chosen)),
        tuple(sorted(case for case, group in groups.items() if group in touched and case not in chosen)),
    )


def check_test_set(groups: Mapping[str, str], test_set: TestSet) -> None:
    """Make sure that there is something to test on and something to train on.

    Raises:
        SetupError: If there is not.
    """
    rest = len(groups) - len(test_set.cases) - len(test_set.left_out)
    if len(test_set.cases) < MINIMUM_CASES or rest < MINIMUM_CASES:
        raise SetupError(
            f"of {len(groups)} cases in {len(set(groups.values()))} groups, {len(test_set.cases)} would be held out for"
            f" the test and {rest} be left to train on",
            mend="another --test-share or --test-cases, more cases, or smaller groups",
        )


def draw_labelled(
    groups: Mapping[str, str], test_set: TestSet, amounts: Iterable[Amount], *, seed: int, draw: int = 0
) -> dict[Amount, tuple[str, ...]]:
    """Draw the labelled cases, so that a smaller subset is part of every larger one.

    All groups outside the test set are put into an order by the seed; an amount takes whole groups from its beginning
    until it has as many cases as it asks for. So it may get more, and never divides a group.

    Args:
        groups: Name of every case to its group.
        test_set: What is held out.
        amounts: How many.
        seed: Of the order.
        draw: Number of the order; another number gives another one of the same seed.

    Returns:
        Sorted names of the cases for every amount.

    Raises:
        SetupError: If an amount asks for more cases than there are.
    """
    held_out = {*test_set.cases, *test_set.left_out}
    free = {case: group for case, group in groups.items() if case not in held_out}
    order = _draw_order(free, seed, Stream.LABELLED, draw)
    return {amount: _take_groups(free, order, amount.count(len(free))) for amount in amounts}


def _draw_order(groups: Mapping[str, str], seed: int, stream: Stream, *numbers: int) -> list[str]:
    names = sorted(set(groups.values()))
    generator = np.random.default_rng([seed, int(stream), *numbers])
    return [names[number] for number in generator.permutation(len(names))]


def _take_groups(groups: Mapping[str, str], order: list[str], count: int) -> tuple[str, ...]:
    """Cases of the first groups that have as many together."""
    members: dict[str, list[str]] = {}
    for case, group in groups.items():
        members.setdefault(group, []).append(case)
    taken: list[str] = []
    for group in order:
        if len(taken) >= count:
            break
        taken += members[group]
    return tuple(sorted(taken))
