"""Learning rates and what trains, as pure functions of the epoch: a continued run needs nothing else to be the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STANDARD, WARMUP, SAWTOOTH = "standard", "warmup", "sawtooth"
DEFAULT_EPOCHS = 1000
"""nnU-Net's number of epochs, which the lengths of the stages below refer to."""
STANDARD_PEAK = 1e-2
"""nnU-Net's initial learning rate."""
GENTLE_PEAK = 1e-3
"""Peak of warm-up and sawtooth in published comparisons of pretrained encoders (OpenMind, arXiv 2412.17041)."""
WARMUP_EPOCHS = 50
DECODER_EPOCHS = 25
"""Of the sawtooth: this many up, and as many down, with the encoder frozen."""
POLY_EXPONENT = 0.9
LAYERWISE_FACTOR = 0.75
"""Rate of an encoder stage over that of the next deeper one; the deepest has this share of the decoder's (ours)."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate runs.

    Attributes:
        shape: `STANDARD`, `WARMUP` or `SAWTOOTH`.
        frozen: Whether the encoder never trains.
        layerwise: Whether the encoder's rate falls towards its stem.
    """

    shape: str = STANDARD
    frozen: bool = False
    layerwise: bool = False

    @property
    def is_nnunets(self) -> bool:
        """Whether it is nnU-Net's own, which nothing of ours touches."""
        return self == NNUNETS_OWN

    @property
    def peak(self) -> float:
        """Highest learning rate of the decoder."""
        return STANDARD_PEAK if self.shape == STANDARD else GENTLE_PEAK

    def encoder_factors(self, num_stages: int) -> tuple[float, ...]:
        """Rate of each encoder stage over the decoder's, from the stem to the deepest."""
        if not self.layerwise:
            return (1.0,) * num_stages
        return tuple(LAYERWISE_FACTOR ** (num_stages - stage) for stage in range(num_stages))


NNUNETS_OWN = Schedule()


@dataclass(frozen=True)
class Stage:
    """Epochs over which the rate rises linearly to the peak, or falls from it to zero by nnU-Net's polynomial.

    Attributes:
        first_epoch: Counted from 0.
        num_epochs: At least 1.
        rises: Whether it rises.
        trains_encoder: Whether the encoder trains, or the decoder alone.
    """

    first_epoch: int
    num_epochs: int
    rises: bool
    trains_encoder: bool

    def factor(self, epoch: int) -> float:
        """Learning rate over the peak, in (0, 1]; the last epoch of a rise and the first of a fall are at the peak."""
        if self.rises:
            return (epoch - self.first_epoch + 1) / self.num_epochs
        return float((1 - (epoch - self.first_epoch) / self.num_epochs) ** POLY_EXPONENT)

    def describe(self) -> str:
        """One line for people; epochs are counted from 0, as nnU-Net's log counts them."""
        last = self.first_epoch + self.num_epochs - 1
        epochs = f"epoch {last}" if self.num_epochs == 1 else f"epochs {self.first_epoch} to {last}"
        what = "whole network" if self.trains_encoder else "decoder only"
        return f"{what}, {'linear up' if self.rises else 'poly down'} ({epochs})"


@dataclass(frozen=True)
class EpochSettings:
    """What holds during one epoch.

    Attributes:
        learning_rate: Of the decoder; an encoder stage has its factor of it.
        trains_encoder: Whether the encoder trains.
        clears_momentum: Whether the optimiser's state is dropped before the epoch. It is where the encoder begins to
            train: the decoder's momentum (0.99, some hundred steps) was gathered on features that now begin to move,
            and the encoder would start without any; so both start anew, from a rate near zero.
    """

    learning_rate: float
    trains_encoder: bool
    clears_momentum: bool


def minimum_epochs(schedule: Schedule) -> int:
    """Fewest epochs that hold every stage of a schedule at least once."""
    return 4 if schedule.shape == SAWTOOTH else 1


def list_stages(schedule: Schedule, num_epochs: int) -> tuple[Stage, ...]:
    """Divide a training into stages.

    Args:
        schedule: How the learning rate runs.
        num_epochs: Of the whole training, at least `minimum_epochs`.

    Returns:
        Stages without gaps, in order; they add up to `num_epochs`.
    """
    warmup = _share(WARMUP_EPOCHS, num_epochs)
    decoder = _share(DECODER_EPOCHS, num_epochs)
    encoder = not schedule.frozen
    rises = {
        STANDARD: [],
        WARMUP: [(warmup, True, encoder)],
        SAWTOOTH: [(decoder, True, False), (decoder, False, False), (warmup, True, encoder)],
    }[schedule.shape]
    rest = num_epochs - sum(length for length, _, _ in rises)
    stages: list[Stage] = []
    first = 0
    for length, is_rise, trains_encoder in [*rises, (rest, False, encoder)]:
        if length > 0:
            stages.append(Stage(first, length, is_rise, trains_encoder))
        first += length
    return tuple(stages)


def settings_of_epoch(schedule: Schedule, epoch: int, num_epochs: int) -> EpochSettings:
    """What holds during an epoch; nothing but its number decides.

    Args:
        schedule: How the learning rate runs.
        epoch: Counted from 0; later ones than the last are taken for the last.
        num_epochs: Of the whole training.
    """
    epoch = min(epoch, num_epochs - 1)
    stages = list_stages(schedule, num_epochs)
    number = max(number for number, stage in enumerate(stages) if stage.first_epoch <= epoch)
    stage, before = stages[number], stages[max(0, number - 1)]
    return EpochSettings(
        learning_rate=schedule.peak * stage.factor(epoch),
        trains_encoder=stage.trains_encoder,
        clears_momentum=epoch == stage.first_epoch and stage.trains_encoder and not before.trains_encoder,
    )


def describe_schedule(schedule: Schedule, num_epochs: int) -> dict[str, Any]:
    """A schedule in plain values, for records."""
    return {
        "name": schedule.shape,
        "peak_learning_rate": schedule.peak,
        "encoder_frozen": schedule.frozen,
        "layerwise_factor": LAYERWISE_FACTOR if schedule.layerwise else None,
        "epochs": num_epochs,
        "stages": [stage.describe() for stage in list_stages(schedule, num_epochs)],
    }


def summarise(schedule: Schedule, num_epochs: int) -> str:
    """A schedule in one line, for logs."""
    stages = "; ".join(stage.describe() for stage in list_stages(schedule, num_epochs))
    notes = f", each encoder stage at {LAYERWISE_FACTOR} of the next deeper one" if schedule.layerwise else ""
    own = " (nnU-Net's own)" if schedule.is_nnunets else ""
    return f"{schedule.shape}{own}, peak {schedule.peak:g}{notes}: {stages}"


def _share(epochs: int, num_epochs: int) -> int:
    """The same share of another number of epochs, rounded half up, at least 1."""
    return max(1, (2 * epochs * num_epochs + DEFAULT_EPOCHS) // (2 * DEFAULT_EPOCHS))
