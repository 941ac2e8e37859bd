"""What a comparison shows, in words."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.benchmark.statistics.significance import LEVEL

if TYPE_CHECKING:
    from nnunet_genesis.benchmark.statistics.comparison import Comparison


LEAST_SEEDS = 3
"""Of either arm, for a verdict on one of several comparisons: with two, Satterthwaite's approximation is right at 5 %,
and far too bold at the smaller levels that a correction asks for (benchmarks/results/family_verdicts.txt)."""


class Verdict(str, Enum):
    """What is shown; anything but better and worse is no difference shown."""

    BETTER = "better"
    WORSE = "worse"
    NONE = "no difference shown"


def judge(comparison: Comparison) -> Verdict:
    """Say what is shown about pretraining, at a level of 5 % over the whole family of comparisons.

    Better or worse needs the interval's p-value and Wilcoxon's, both after Holm's correction, and of both arms two or
    more seeds, or `LEAST_SEEDS` where several comparisons are made between trainings that are not paired.
    """
    if not _is_sure(comparison) or not comparison.interval.over_runs or _has_few_seeds(comparison):
        return Verdict.NONE
    return _direction(comparison)


def explain(comparison: Comparison) -> str:
    """Say what is shown and, where it is no difference, what is missing."""
    verdict = judge(comparison)
    if verdict is not Verdict.NONE:
        return str(verdict.value)
    interval = comparison.interval
    if np.isnan(interval.p):
        return f"{verdict.value}: one test patient gives no interval"
    if not interval.over_runs:
        if _is_sure(comparison):
            lead = f"{_direction(comparison).value} in these trainings alone"
        else:
            lead = f"{verdict.value} even in these trainings"
        return f"{lead}: one seed says nothing of the next"
    if interval.p >= LEVEL:
        return str(verdict.value)
    return f"{verdict.value}{_what_is_missing(comparison)} (alone: {_direction(comparison).value})"


def _what_is_missing(comparison: Comparison) -> str:
    if comparison.interval_holm >= LEVEL:
        return f" after correction for {comparison.family} comparisons"
    if _has_few_seeds(comparison):
        return f": two seeds are too few for {comparison.family} comparisons"
    if has_few_patients(comparison):
        return f": {len(comparison.groups)} test patients are too few for Wilcoxon's test"
    return ": the patients' ranks do not agree"


def has_few_patients(comparison: Comparison) -> bool:
    """Whether Wilcoxon's test could not show it, after the correction, even if all of them got better."""
    return float(2 ** (1 - len(comparison.groups)) * comparison.family) >= LEVEL


def _is_sure(comparison: Comparison) -> bool:
    return comparison.interval_holm < LEVEL and comparison.wilcoxon_holm < LEVEL  # False where one is NaN


def _has_few_seeds(comparison: Comparison) -> bool:
    fewest = min(len(one.seeds) for one in (comparison.pretrained, comparison.scratch))
    return comparison.family > 1 and not comparison.paired and fewest < LEAST_SEEDS


def _direction(comparison: Comparison) -> Verdict:
    is_better = (comparison.interval.difference > 0) == comparison.larger_is_better
    return Verdict.BETTER if is_better else Verdict.WORSE
