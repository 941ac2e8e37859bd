"""Steps whose numbers go wrong: they are skipped and counted, and several in a row are answered by going back.

A step is skipped where its loss or its gradients are not finite, or where its loss explodes: where it is more than
`EXPLODING` times the worst baseline, and as many times the first loss of the run (ours). Weights and optimizer stay as
they were. Processes agree without asking each other: a loss that must not be learned from becomes NaN, and so become
the gradients that all of them share.

Under 16-mixed the scaler skips steps whose scaled gradients overflow. That is its way to find a scale, and is not
counted; only what the loss itself shows is, and a scale that fell below `SMALLEST_SCALE`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import GenesisError
from nnunet_genesis.pretraining.devices import on_first_process
from nnunet_genesis.pretraining.learned_state import restore_learned
from nnunet_genesis.pretraining.monitor import LOGGER

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_fabric import Fabric

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.pretraining.pretext_network import PretextNetwork
    from nnunet_genesis.pretraining.validation import Baselines

EXPLODING = 100.0
"""A loss is too large from this many times the worst baseline, and the first loss, on (ours)."""
STEPS_IN_A_ROW = 5
"""So many skipped steps in a row mean that the weights are lost (ours)."""
LEARNING_RATE_CUT = 0.1
"""Factor of all learning rates after a run went back (ours)."""
SMALLEST_SCALE = 1.0
"""Gradients that overflow under this scale of 16-mixed are too large themselves."""


@dataclass
class DivergenceRecord:
    """What went wrong so far; kept in checkpoints.

    Attributes:
        skipped_steps: Steps that were skipped.
        in_a_row: How many of them were the last ones.
        first_loss: First finite loss of the run; 0 before.
        went_back: For every time that training went back: at which ``step``, ``to_step`` of the checkpoint, and the
            ``reason``.
    """

    skipped_steps: int = 0
    in_a_row: int = 0
    first_loss: float = 0.0
    went_back: list[dict[str, Any]] = field(default_factory=list)

    @property
    def learning_rate_factor(self) -> float:
        """What learning rates are multiplied by."""
        return float(LEARNING_RATE_CUT ** len(self.went_back))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the checkpoint."""
        return asdict(self)


class DivergenceGuard:
    """Skips steps, counts them on the device, and goes back; nothing but `read` and `check` makes the host wait.

    On CUDA with AdamW the optimizer's own fused kernel skips; elsewhere the host looks at every step.

    Args:
        fabric: Engine of this process.
        config: The run's configuration.
        network: With its heads.
        optimizer: As Fabric prepared it.
        latest: The checkpoint that is gone back to; there is one from the start.
        baselines: As the first process measured them.
        record: Kept up to date by `read`.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: PretrainingConfig,
        *,
        network: PretextNetwork,
        optimizer: Any,
        latest: Path,
        baselines: Baselines,
        record: DivergenceRecord,
    ) -> None:
        self.fabric, self.config, self.record = fabric, config, record
        self.network, self.optimizer, self.latest = network, optimizer, latest
        self.scaler: Any = getattr(fabric.strategy.precision, "scaler", None)
        worst = max(baselines.identity, baselines.blurred, baselines.constant)
        self.worst_baseline: float = fabric.broadcast(worst)
        self._counts = torch.tensor([record.skipped_steps, record.in_a_row], device=fabric.device)
        self._first_loss = torch.tensor(record.first_loss, device=fabric.device)
        self._reported = record.skipped_steps

    def mark(self, loss: torch.Tensor) -> torch.Tensor:
        """Turn a loss that must not be learned from into NaN, and so its gradients.

        Args:
            loss: (), of this process's share of the batch.
        """
        value = loss.detach().float()
        first = value.nan_to_num(0.0, 0.0, 0.0)
        self._first_loss = torch.where(self._first_loss > 0, self._first_loss, first)
        limit = EXPLODING * self._first_loss.clamp_min(self.worst_baseline)
        return loss * torch.where(value <= limit, 1.0, torch.nan)

    def step(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Take the optimizer's step, or skip it.

        Args:
            loss: As `mark` returned it.
            norm: () of the gradients of all processes, before they were clipped.
        """
        bad = loss.detach().isnan() if self.scaler is not None else ~norm.isfinite()
        self._counts += bad
        self._counts[1] *= bad
        if self.scaler is not None:
            self.optimizer.step()
        elif all(group.get("fused") for group in self.optimizer.param_groups):
            self.optimizer.optimizer.found_inf = bad.float()
            self.optimizer.step()
        elif not bool(bad):
            self.optimizer.step()

    def check(self, step: int, val_loss: float | None = None) -> None:
        """Go back where the weights are lost; to be called by all processes, at steps that depend on nothing else.

        Args:
            step: Steps done.
            val_loss: Validation loss of these weights, where it is known.

        Raises:
            GenesisError: If training has gone back before.
        """
        self.read(step)
        problem = self._problem(val_loss)
        if problem is None:
            return
        if self.record.went_back:
            raise GenesisError(
                f"step {step}: training diverged: {problem}. It did so before, at step"
                f" {self.record.went_back[0]['step']}, and a lower learning rate did not help",
                where=self.latest.parent,
                mend=f"--lr {self.config.learning_rate * LEARNING_RATE_CUT**2:g} --overwrite to start anew with a lower"
                " learning rate; if that diverges, too, look for wrong values in your scans with genesis preview",
            )
        content = on_first_process(self.fabric, lambda: checkpoint.read(self.latest))
        restore_learned(self.fabric, self.network, self.optimizer, content)
        to_step = content["training_state"]["step"]
        self.record.went_back.append({"step": step, "to_step": to_step, "reason": problem})
        self.record.in_a_row = 0
        self._counts[1] = 0
        LOGGER.warning(
            "step %d: training diverged: %s.\n"
            "  It went back to the weights of step %d; from now on learning rates are %g times what they would be.\n"
            "  A second time would end the run.",
            step,
            problem,
            to_step,
            self.record.learning_rate_factor,
        )

    @property
    def limit(self) -> float:
        """The largest loss that is learned from, as far as the host knows."""
        return EXPLODING * max(self.worst_baseline, self.record.first_loss)

    def read(self, step: int) -> DivergenceRecord:
        """Bring the record up to date, the same in all processes, and warn of steps skipped since."""
        # A share that exploded is known under 16-mixed to its own process alone.
        own = torch.cat([self._counts.float(), self._first_loss[None]])  # some devices have no float64
        skipped, in_a_row, first_loss = self.fabric.all_reduce(own, reduce_op="max").tolist()  # type: ignore[union-attr]
        self._counts.copy_(torch.tensor([int(skipped), int(in_a_row)]))
        self._first_loss.fill_(first_loss)
        self.record.skipped_steps, self.record.in_a_row = int(skipped), int(in_a_row)
        self.record.first_loss = first_loss
        if self.scaler is not None and self.scaler.get_scale() < SMALLEST_SCALE:
            self.record.in_a_row = max(self.record.in_a_row, STEPS_IN_A_ROW)
        new = self.record.skipped_steps - self._reported
        if new:
            LOGGER.warning(
                "up to step %d: %d step(s) skipped, %d in all: loss or gradients not finite, or a loss above %.3g",
                step,
                new,
                self.record.skipped_steps,
                self.limit,
            )
        self._reported += new
        return self.record

    def _problem(self, val_loss: float | None) -> str | None:
        if self.record.in_a_row >= STEPS_IN_A_ROW:
            return (
                f"the last {self.record.in_a_row} steps had losses or gradients that are not finite, or losses above"
                f" {self.limit:.3g}"
            )
        if val_loss is not None and not val_loss <= self.limit:
            return f"the validation loss is {val_loss:.3g}"
        return None


def mean_of_finite(losses: torch.Tensor) -> float:
    """Mean of the losses of steps that were learned from; NaN where there is none."""
    values = losses.cpu().double()
    finite = values[values.isfinite()]
    return float(finite.mean()) if len(finite) else math.nan
