"""How many labels and epochs pretraining saves, beside what scratch itself can do without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.statistics.comparison import Arm, arms_of, matched_scores
from nnunet_genesis.benchmark.statistics.interval import Interval, crossed_interval

if TYPE_CHECKING:
    from nnunet_genesis.benchmark.statistics.metric_table import MetricTable


@dataclass(frozen=True)
class LabelSaving:
    """The smallest number of labelled cases, of those tried, that reaches scratch with the most.

    Attributes:
        initialisation: What starts; scratch itself is the line to compare with, its curve may be flat, too.
        schedule: Of both.
        most: Largest number of labelled cases that scratch was trained on.
        reached: Smallest number from which on the mean is at least that of scratch with the most; None if none.
        earliest: Smallest number from which on the interval does not lie below it; None if none.
        latest: Smallest number from which on the interval does not go below it; None if none.
        over_runs: Whether all intervals are about other trainings, too; one that is not counts as one without ends.
        steps: For every number tried, sorted, the difference to scratch with the most (not for that arm itself).
    """

    initialisation: str
    schedule: str
    most: int
    reached: int | None
    earliest: int | None
    latest: int | None
    over_runs: bool
    steps: dict[int, Interval]

    @property
    def saved(self) -> float:
        """Share of the labels that is saved by the mean, in [0, 1]; NaN where scratch with the most is not reached."""
        return np.nan if self.reached is None else 1 - self.reached / self.most


def label_savings(table: MetricTable, *, paired: bool) -> list[LabelSaving]:
    """Find the savings of every initialisation, scratch first, and schedule with several numbers of labels.

    Args:
        table: Scores of one metric and class.
        paired: See `compare`.
    """
    arms = arms_of(table.values)
    savings = []
    for initialisation, schedule in dict.fromkeys((arm.initialisation, arm.schedule) for arm in arms):
        controls = [arm.labelled for arm in arms if (arm.initialisation, arm.schedule) == (SCRATCH, schedule)]
        tried = sorted(arm.labelled for arm in arms if (arm.initialisation, arm.schedule) == (initialisation, schedule))
        if len(set(controls) | set(tried)) < 2 or not controls:
            continue
        target = Arm(SCRATCH, max(controls), schedule)
        steps = {}
        for labelled in tried:
            arm = Arm(initialisation, labelled, schedule)
            ours, theirs = matched_scores(table, arm, target, paired=paired)
            if arm != target and len(ours):
                steps[labelled] = crossed_interval(ours, theirs, paired=paired)
        savings.append(_saving(table, initialisation, target, steps))
    return savings


def _saving(table: MetricTable, initialisation: str, target: Arm, steps: dict[int, Interval]) -> LabelSaving:
    sign = 1 if table.larger_is_better else -1
    ends = {
        number: (sign * step.low, sign * step.high) if step.over_runs else (np.nan, np.nan)
        for number, step in steps.items()
    }
    best, worst = ({number: end(both) for number, both in ends.items()} for end in (max, min))
    means = {number: sign * step.difference for number, step in steps.items()}
    if initialisation == SCRATCH:  # it reaches itself
        for values in (best, worst, means):
            values[target.labelled] = 0.0
    return LabelSaving(
        initialisation=initialisation,
        schedule=target.schedule,
        most=target.labelled,
        reached=_from_on(means),
        earliest=_from_on(best),
        latest=_from_on(worst),
        over_runs=all(step.over_runs for step in steps.values()),
        steps=steps,
    )


def _from_on(values: dict[int, float]) -> int | None:
    """Smallest number whose value, and that of every larger one, is at least 0."""
    found = None
    for number in sorted(values, reverse=True):
        if not values[number] >= 0:  # also where it is NaN
            break
        found = number
    return found
