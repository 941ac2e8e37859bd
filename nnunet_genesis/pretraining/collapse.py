"""A network that restores a constant, or nothing better: a known failure of restoration, reported and not stopped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nnunet_genesis.pretraining.monitor import LOGGER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.pretraining.validation import Baselines

EPOCHS_IN_A_ROW = 5
"""So many epochs that look alike are needed for a warning: a network that begins to learn restores the mean, too."""
LEAST_CONTRAST = 0.05
"""Below this share of its target's standard deviation a restoration counts as constant (ours)."""


def find_collapse(history: Sequence[dict[str, Any]], baselines: Baselines) -> str | None:
    """What a run shows that learned a constant, or nothing, or None.

    Args:
        history: Entries of the finished epochs.
        baselines: What the validation loss of restoration is compared with.
    """
    last = history[-EPOCHS_IN_A_ROW:]
    restored = [entry.get("contrast", math.nan) for entry in last]  # NaN where restoration is not learned yet
    if len(last) < EPOCHS_IN_A_ROW or not all(map(math.isfinite, restored)):
        return None
    if max(restored) < LEAST_CONTRAST:
        return f"restorations of held-out scans are almost constant ({100 * restored[-1]:.2g} % of their contrast)"
    losses = [entry.get("val_restoration", entry["val_loss"]) for entry in last]
    if all(loss >= baselines.constant for loss in losses):
        return (
            f"restorations of held-out scans (loss {losses[-1]:.4g}) are no better than their mean value (loss"
            f" {baselines.constant:.4g})"
        )
    return None


def warn_of_collapse(history: Sequence[dict[str, Any]], baselines: Baselines) -> bool:
    """Warn when a collapse is seen first; returns whether the last epoch shows one."""
    problem = find_collapse(history, baselines)
    if problem is not None and not (len(history) > 1 and history[-2].get("collapsed")):
        LOGGER.warning(
            "epoch %d: %s, for %d epochs now (training %.4g): the network has learned nothing yet that holds for other"
            " scans.\n"
            "  Look at restorations.png and at your patches (genesis preview). Where the training loss falls all the"
            " same, the held-out scans are unlike the others, or too few to tell (--val-fraction); where it does not,"
            " start anew (--overwrite) with a lower --lr or another --pretext.",
            history[-1]["epoch"] + 1,
            problem,
            EPOCHS_IN_A_ROW,
            history[-1].get("train_restoration", history[-1]["train_loss"]),
        )
    return problem is not None
