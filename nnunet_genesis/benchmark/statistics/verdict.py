"""What a comparison shows, in words."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.benchmark.statistics.significance import LEVEL

if TYPE_CHECKING:
    from nnunet_genesis.benchmark.statistics.comparison import Comparison


class Verdict(str, Enum):
    """What is shown; anything but better and worse is no difference shown."""

    BETTER = "better"
    WORSE = "worse"
    NONE = "no difference shown"


def judge(comparison: Comparison) -> Verdict:
    """Say what is shown about pretraining, at a level of 5 % over the whole family of comparisons.

    Better or worse needs two or more seeds of both arms, the interval's p-value and Wilcoxon's, both after Holm's
    correction.
    """
    sure = comparison.interval_holm < LEVEL and comparison.wilcoxon_holm < LEVEL  # False where one is NaN
    if not sure or not comparison.interval.over_runs:
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
        if comparison.interval_holm < LEVEL and comparison.wilcoxon_holm < LEVEL:
            lead = f"{_direction(comparison).value} in these trainings alone"
        else:
            lead = f"{verdict.value} even in these trainings"
        return f"{lead}: one seed says nothing of the next"
    if interval.p >= LEVEL:
        return str(verdict.value)
    alone = f"alone: {_direction(comparison).value}"
    if comparison.interval_holm >= LEVEL:
        return f"{verdict.value} after correction for {comparison.family} comparisons ({alone})"
    return f"{verdict.value}: the patients' ranks do not agree ({alone})"


def _direction(comparison: Comparison) -> Verdict:
    is_better = (comparison.interval.difference > 0) == comparison.larger_is_better
    return Verdict.BETTER if is_better else Verdict.WORSE
