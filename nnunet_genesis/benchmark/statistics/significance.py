"""Tests that ask for no normal distribution, and what many tests at once cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVEL = 0.05


def wilcoxon_p(differences: NDArray[np.float64]) -> float:
    """Two-sided Wilcoxon signed-rank test of one difference per group (patient).

    Groups without a difference are left out, as Wilcoxon did. Cases of one patient or repeated trainings are no
    independent evidence: average them first.

    Returns:
        The p-value; 1 where no group differs.
    """
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="wilcox").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, so that a false one among all of them is as rare as stated.

    Holm (Scandinavian Journal of Statistics 6, 1979): the smallest is multiplied by their number, the next by one less,
    and so on; none gets smaller than one before it. NaN, of what could not be tested, stays NaN and does not count.
    """
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    order = np.argsort(values)
    order = order[~np.isnan(values[order])]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return [float(value) for value in corrected]
