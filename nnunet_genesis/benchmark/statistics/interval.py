"""How sure a difference is: patients and trainings both vary, and few trainings say little about how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
DRAWS = 2000
"""Resamples of the bootstrap (ours)."""
_SMALLEST_P = 1e-12


@dataclass(frozen=True)
class Interval:
    """A mean difference and what is known of it.

    Attributes:
        difference: Pretrained minus scratch, mean over groups and trainings.
        low: Lower end of the 95 % interval; NaN where there are fewer than two groups.
        high: Upper end.
        p: Two-sided p-value of no difference that belongs to the interval; NaN with it.
        over_runs: Whether other trainings are part of the statement; otherwise (one seed) it holds for these alone.
    """

    difference: float
    low: float
    high: float
    p: float
    over_runs: bool


@dataclass(frozen=True)
class Terms:
    """Independent parts of the variance of a difference; leading axes are kept.

    Attributes:
        difference: Shape (...).
        variances: One of shape (...) per part.
        degrees: Degrees of freedom of each.
        over_runs: See `Interval`.
    """

    difference: NDArray[np.float64]
    variances: list[NDArray[np.float64]]
    degrees: list[NDArray[np.float64]]
    over_runs: bool

    def half_width(self, alpha: float = 1 - CONFIDENCE) -> NDArray[np.float64]:
        """Half of the interval that misses with probability `alpha`: root of the sum of squared half-widths."""
        parts = zip(self.variances, self.degrees, strict=True)
        squares = [stats.t.isf(alpha / 2, degrees) ** 2 * variance for variance, degrees in parts]
        return np.asarray(np.sqrt(np.sum(squares, axis=0)))


def crossed_terms(arm: NDArray[np.float64], control: NDArray[np.float64], *, paired: bool) -> Terms:
    """Split the variance of a difference between two arms whose trainings are tested on the same groups.

    Groups and trainings are crossed random effects: the variance of the mean difference is estimated by the variance
    between the groups' differences over the number of groups, plus the variance between the trainings' means over the
    number of trainings. What remains of noise is counted in both, which errs to the safe side.

    - Trainings of the two arms are independent: the degrees of freedom of the sum are Satterthwaite's (Biometrics
      Bulletin 2, 1946).
    - Trainings with the same seed share their labelled cases (`paired`): the variance is that of differences by seed.
      Satterthwaite's degrees of freedom are too many for so few seeds, so that the squared half-widths of the two parts
      are added instead (Howe, JASA 69, 1974).

    Args:
        arm: Score of each training on each group, shape (..., runs, groups).
        control: Same, with the same groups; with `paired` also the same seeds in the same order.
        paired: Whether trainings with the same seed share their labelled cases.
    """
    by_group = arm.mean(axis=-2) - control.mean(axis=-2)
    groups = by_group.shape[-1]
    difference = by_group.mean(axis=-1)
    between_groups = _variance(by_group) / groups
    over_groups = np.full(difference.shape, groups - 1.0)
    runs = min(arm.shape[-2], control.shape[-2])
    if runs < 2:
        return Terms(difference, [between_groups], [over_groups], over_runs=False)
    if paired:
        between_runs = _variance((arm - control).mean(axis=-1)) / runs
        over_seeds = np.full(difference.shape, runs - 1.0)
        return Terms(difference, [between_groups, between_runs], [over_groups, over_seeds], over_runs=True)
    parts = [(between_groups, groups - 1)]
    parts += [(_variance(one.mean(axis=-1)) / one.shape[-2], one.shape[-2] - 1) for one in (arm, control)]
    total = np.sum([variance for variance, _ in parts], axis=0)
    uncertainty = np.sum([variance**2 / degrees for variance, degrees in parts], axis=0)
    degrees = np.divide(total**2, uncertainty, out=np.ones_like(total), where=uncertainty > 0)
    return Terms(difference, [total], [degrees], over_runs=True)


def crossed_interval(arm: NDArray[np.float64], control: NDArray[np.float64], *, paired: bool) -> Interval:
    """95 % interval and p-value of the difference between two arms, see `crossed_terms`; shapes (runs, groups)."""
    if arm.shape[-1] < 2:
        return Interval(float(arm.mean() - control.mean()), np.nan, np.nan, np.nan, over_runs=False)
    terms = crossed_terms(arm, control, paired=paired)
    difference, half = float(terms.difference), float(terms.half_width())
    return Interval(difference, difference - half, difference + half, _p_value(terms), terms.over_runs)


def hierarchical_bootstrap(
    arm: NDArray[np.float64], control: NDArray[np.float64], *, paired: bool, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float]:
    """95 % percentile interval where groups and trainings are drawn again, with replacement.

    It is shown beside `crossed_interval`, and decides nothing: with few trainings it is too narrow
    (docs/benchmark_statistics.md).

    Args:
        arm: Shape (runs, groups).
        control: Same groups.
        paired: Whether the trainings of both arms are drawn together, by their seed.
        seed: Of the draws.
        draws: How many.
    """
    generator = np.random.default_rng(seed)

    def weights(count: int) -> NDArray[np.float64]:
        return generator.multinomial(count, np.full(count, 1 / count), draws) / count

    of_groups, of_arm = weights(arm.shape[1]), weights(arm.shape[0])
    of_control = of_arm if paired else weights(control.shape[0])
    means = ((of_arm @ arm - of_control @ control) * of_groups).sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return low, high


def _variance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values.var(axis=-1, ddof=1))


def _p_value(terms: Terms) -> float:
    """Smallest alpha whose interval excludes zero."""
    distance = abs(float(terms.difference))
    if distance <= float(terms.half_width(1.0)):
        return 1.0
    if distance >= float(terms.half_width(_SMALLEST_P)):
        return _SMALLEST_P

    def excess(exponent: float) -> float:
        return float(terms.half_width(float(np.exp(exponent)))) - distance

    return float(np.exp(optimize.brentq(excess, np.log(_SMALLEST_P), 0.0)))
