"""How soon a training gets to where scratch ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.statistics.comparison import Arm, arms_of, matched_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from nnunet_genesis.benchmark.scores import EpochScore, RunKey

SMOOTHED_SHARE, LEAST_SMOOTHED, MOST_SMOOTHED = 0.1, 3, 10
"""Of the epochs, a moving average goes over this share, but over so many at least and at most (ours)."""


@dataclass(frozen=True)
class Convergence:
    """When an arm reaches the smoothed pseudo Dice that scratch ends with.

    Attributes:
        arm: Pretrained, or scratch itself: by its end at the latest, but where its curve is flat, long before.
        epochs: Of scratch's training.
        target: Smoothed pseudo Dice at scratch's end, mean over its seeds (with `paired`, those that both arms have).
        reached: Number of epochs after which the arm's mean curve is at least that for the first time; None if never.
        by_seed: The same for every single training, by its seed.
    """

    arm: Arm
    epochs: int
    target: float
    reached: int | None
    by_seed: dict[int, int | None]


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last epochs, of each epoch: a tenth of all, at least three and at most ten.

    nnU-Net's own exponential average (`ema_fg_dice`) remembers about ten epochs whatever the length of a training: in
    one of 40 it is still on its way up when the network has long been as good as it gets.

    Args:
        values: (epochs,) pseudo Dice. An epoch without a value (NaN: the class was in no patch) is left out; where a
            mean has none, the one before stays.

    Returns:
        (epochs,), NaN until the first value.
    """
    length = int(np.clip(SMOOTHED_SHARE * len(values), LEAST_SMOOTHED, MOST_SMOOTHED))
    smoothed = np.full(len(values), np.nan)
    for epoch in range(len(values)):
        last = values[max(0, epoch + 1 - length) : epoch + 1]
        if not np.isnan(last).all():
            smoothed[epoch] = np.nanmean(last)
        elif epoch:
            smoothed[epoch] = smoothed[epoch - 1]
    return smoothed


def smoothed_curves(scores: Iterable[EpochScore]) -> dict[RunKey, NDArray[np.float64]]:
    """Smoothed pseudo Dice, mean over classes, of every training: shape (epochs,)."""
    values: dict[RunKey, dict[int, float]] = {}
    for score in scores:
        if not score.label:
            values.setdefault(score.run, {})[score.epoch] = score.pseudo_dice
    curves = {}
    for run, by_epoch in values.items():
        curve = np.full(max(by_epoch) + 1, np.nan)
        curve[list(by_epoch)] = list(by_epoch.values())
        curves[run] = smooth(curve)
    return curves


def convergence(curves: dict[RunKey, NDArray[np.float64]], *, paired: bool) -> list[Convergence]:
    """Compare every arm, scratch first, with the end of scratch with the same labelled cases and schedule.

    Args:
        curves: From `smoothed_curves`.
        paired: See `compare`.
    """
    arms = arms_of(curves)
    found = []
    for arm, own in arms.items():
        runs, control = matched_runs(own, arms.get(Arm(SCRATCH, arm.labelled, arm.schedule), []), paired=paired)
        if not runs or not control:
            continue
        end = mean_curve([curves[run] for run in control])
        target = float(end[-1])
        found.append(
            Convergence(
                arm,
                len(end),
                target,
                _first(mean_curve([curves[run] for run in runs]), target),
                {run.seed: _first(curves[run], target) for run in runs},
            )
        )
    return found


def mean_curve(curves: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over trainings, as far as all of them go."""
    epochs = min(len(curve) for curve in curves)
    return np.asarray(np.mean([curve[:epochs] for curve in curves], axis=0))


def _first(curve: NDArray[np.float64], target: float) -> int | None:
    reached = np.flatnonzero(curve >= target)
    return int(reached[0]) + 1 if len(reached) else None
