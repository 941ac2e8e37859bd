"""The training loop, on one page: step, epoch, validation, saving."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.pretraining.collapse import warn_of_collapse
from nnunet_genesis.pretraining.divergence import DivergenceGuard, DivergenceRecord, mean_of_finite
from nnunet_genesis.pretraining.feeding import batches_on_device
from nnunet_genesis.pretraining.figures import source_loss
from nnunet_genesis.pretraining.learned_state import learned_state
from nnunet_genesis.pretraining.monitor import LOGGER
from nnunet_genesis.pretraining.seeds import Stream, seed_dropout, torch_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lightning_fabric import Fabric
    from torch import nn

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.pretraining.feeding import Batch
    from nnunet_genesis.pretraining.interruption import StopRequest
    from nnunet_genesis.pretraining.monitor import Monitor
    from nnunet_genesis.pretraining.pretext_network import PretextNetwork
    from nnunet_genesis.pretraining.pretexts.base import NetworkOutputs, Pretext, RestorationPairs
    from nnunet_genesis.pretraining.run_files import RunFiles
    from nnunet_genesis.pretraining.saving import SaveSchedule
    from nnunet_genesis.pretraining.validation import Baselines, ValidationPairs

STEPS_BETWEEN_AGREEMENTS = 10
"""Distributed processes agree this often on whether to stop or to save."""
STEPS_BETWEEN_LOSS_READS = 20
"""On accelerators the shown loss is read this often: reading it makes the device wait."""


@dataclass
class TrainingState:
    """Where a run stands.

    Attributes:
        step: Steps done.
        epoch_losses: Each loss by its name: (iterations per epoch,) of the steps of the running epoch, on the device.
        history: One entry per finished epoch.
        best_val_loss: Lowest validation loss so far.
        divergence: Steps that were skipped, and how often training went back.
    """

    step: int
    epoch_losses: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_val_loss: float = float("inf")
    divergence: DivergenceRecord = field(default_factory=DivergenceRecord)


def learning_rate(config: PretrainingConfig, step: int) -> float:
    """nnU-Net's poly rule, per step."""
    total = config.epochs * config.iterations_per_epoch
    return float(config.learning_rate * (1 - step / total) ** 0.9)


def build_optimizer(
    network: nn.Module, config: PretrainingConfig, *, fused: bool | None = None
) -> torch.optim.Optimizer:
    """AdamW, or nnU-Net's SGD; AdamW as one kernel if `fused`."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay, momentum=0.99, nesterov=True
        )
    return torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def train(
    fabric: Fabric,
    config: PretrainingConfig,
    *,
    network: PretextNetwork,
    wrapped: nn.Module,
    optimizer: Any,
    pretext: Pretext[Any],
    batches: Iterable[Batch],
    validation: ValidationPairs,
    baselines: Baselines,
    state: TrainingState,
    files: RunFiles,
    monitor: Monitor | None,
    schedule: SaveSchedule,
    stop: StopRequest,
) -> bool:
    """Train until the last step or until `stop` is requested.

    Args:
        fabric: Engine of this process.
        config: The run's configuration.
        network: With the pretext's heads; the state dict of its inner network is what is handed on.
        wrapped: The same as Fabric prepared it.
        optimizer: As Fabric prepared it.
        pretext: Makes pairs and judges outputs.
        batches: Patches with what is known of them, from `state.step` on, this process's share of every step.
        validation: Fixed held-out pairs.
        baselines: What the validation loss is compared with.
        state: Where to start; advanced in place.
        files: Writes checkpoints (used by the first process).
        monitor: On the first process.
        schedule: Tells when to save.
        stop: Asks for an end between two steps.

    Returns:
        Whether the run is finished; if not, the latest checkpoint continues it.
    """
    own = _own_part(config, fabric)
    total_steps = config.epochs * config.iterations_per_epoch
    epoch_start = time.monotonic()
    epoch_first_step = state.step
    guard = DivergenceGuard(
        fabric,
        config,
        network=network,
        optimizer=optimizer,
        latest=files.folder / checkpoint.LATEST_NAME,
        baselines=baselines,
        record=state.divergence,
    )
    wrapped.train()
    pairs: RestorationPairs | None = None
    for patches, inside, labels in batches_on_device(batches, fabric.device):
        _set_learning_rate(optimizer, config, state)
        # All processes draw the whole batch's parameters and take their part: the pairs do not depend on their number.
        parameters = pretext.sample(
            config.batch_size, torch_generator(config.seed, Stream.TRAIN_DISTORTIONS, state.step)
        ).select(own)
        pairs = pretext.make_pairs(patches, inside, parameters, out=pairs)
        pretext.enter_step(network.heads, state.step, state.step / total_steps)
        seed_dropout(config.seed, state.step, fabric.global_rank)
        outputs: NetworkOutputs = wrapped(pairs.distorted, pretext.seen_by_heads(pairs))
        losses = {
            **pretext.restoration_losses(outputs.restored, pairs),
            **pretext.head_losses(network.heads, outputs.heads, labels),
        }
        weights = pretext.loss_weights(state.step / total_steps)
        loss = guard.mark(torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum(0).mean())
        optimizer.zero_grad()
        fabric.backward(loss)
        norm = fabric.clip_gradients(wrapped, optimizer, max_norm=config.gradient_clip, error_if_nonfinite=False)
        guard.step(loss, cast("torch.Tensor", norm))
        _record_losses(config, state, losses, loss)
        state.step += 1
        if monitor is not None:
            readable = fabric.device.type == "cpu" or state.step % STEPS_BETWEEN_LOSS_READS == 0
            monitor.step(state.step, float(loss.detach()) if readable else None)

        epoch_ends = state.step % config.iterations_per_epoch == 0
        if epoch_ends or state.step % STEPS_BETWEEN_AGREEMENTS == 0:
            guard.check(state.step)
        if epoch_ends:
            rate = (state.step - epoch_first_step) / (time.monotonic() - epoch_start)
            _finish_epoch(fabric, config, network, validation, baselines=baselines, state=state, steps_per_second=rate)
            if monitor is not None:
                if state.history[-1]["val_loss"] < state.best_val_loss:
                    files.write_best(network.network, progress_entry(state, baselines))
                monitor.epoch(state.history, validation, baselines)
                monitor.pictures(state.history, validation, baselines, network, last=state.step == total_steps)
            state.best_val_loss = min(state.best_val_loss, state.history[-1]["val_loss"])
            guard.check(state.step, state.history[-1]["val_loss"])
            epoch_start, epoch_first_step = time.monotonic(), state.step

        due_after_epoch = epoch_ends and schedule.is_due_after_epoch(len(state.history))
        agree_now = due_after_epoch or state.step % STEPS_BETWEEN_AGREEMENTS == 0
        stops, saves = _agree(fabric, agree_now, stop.requested, due_after_epoch or schedule.is_due_by_time())
        if (stops or saves) and state.step < total_steps:
            guard.read(state.step)
            saved = save_latest(
                fabric, network, optimizer, state=state, baselines=baselines, files=files, stop=stop, must=stops
            )
            schedule.saved(written=saved)
        if stops:
            return state.step == total_steps
    return True


def save_latest(
    fabric: Fabric,
    network: PretextNetwork,
    optimizer: Any,
    *,
    state: TrainingState,
    baselines: Baselines,
    files: RunFiles,
    stop: StopRequest,
    must: bool,
) -> bool:
    """Write the file that ``--c`` continues from, on the first process, while the others wait.

    Returns:
        False where it was not written: this process could not, or the last steps were skipped; both are told.

    Raises:
        StorageError: If it cannot be written and `must` be.
    """
    _share_epoch_losses(fabric, state)
    skipped = state.divergence.in_a_row
    saved = not skipped  # else it is due again soon
    if skipped:
        LOGGER.warning("step %d is not saved, as the last %d step(s) were skipped", state.step, skipped)
    elif fabric.is_global_zero:
        with stop.saving():
            saved = files.write_latest(
                network.network,
                progress_entry(state, baselines),
                _training_state(fabric, network, optimizer, state),
                must=must,
            )
    # A process that ended earlier would make the launcher kill the one that is still writing.
    fabric.barrier()
    return saved


def progress_entry(state: TrainingState, baselines: Baselines) -> dict[str, Any]:
    """The part of the ``genesis`` entry that grows with the run."""
    return {
        "epochs": len(state.history),
        "steps": state.step,
        "history": [dict(entry) for entry in state.history],
        "baselines": asdict(baselines),
        "divergence": state.divergence.as_dict(),
    }


def restore_progress(
    stored: dict[str, Any],
    genesis: dict[str, Any],
    *,
    state: TrainingState,
    fabric: Fabric,
) -> None:
    """Put back where a stored run stood."""
    state.step = stored["step"]
    state.best_val_loss = stored["best_val_loss"]
    state.history = list(genesis["history"])
    state.divergence = DivergenceRecord(**genesis.get("divergence", {}))
    state.epoch_losses = {
        name: torch.tensor(losses, device=fabric.device) for name, losses in stored["epoch_losses"].items()
    }


def _own_part(config: PretrainingConfig, fabric: Fabric) -> slice:
    share = config.batch_size // fabric.world_size
    return slice(fabric.global_rank * share, (fabric.global_rank + 1) * share)


def _set_learning_rate(optimizer: Any, config: PretrainingConfig, state: TrainingState) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step) * state.divergence.learning_rate_factor


def _training_state(fabric: Fabric, network: PretextNetwork, optimizer: Any, state: TrainingState) -> dict[str, Any]:
    return {
        **learned_state(fabric, network, optimizer),
        "step": state.step,
        "best_val_loss": state.best_val_loss,
        "epoch_losses": {name: losses.tolist() for name, losses in state.epoch_losses.items()},
    }


def _finish_epoch(
    fabric: Fabric,
    config: PretrainingConfig,
    network: PretextNetwork,
    validation: ValidationPairs,
    *,
    baselines: Baselines,
    state: TrainingState,
    steps_per_second: float,
) -> None:
    _share_epoch_losses(fabric, state)
    evaluation = validation.evaluate(network)
    progress = (state.step - 1) / (config.epochs * config.iterations_per_epoch)
    restores = validation.pretext.loss_weights(progress).get("restoration", 1.0) > 0
    train_losses = {name: mean_of_finite(losses) for name, losses in state.epoch_losses.items()}
    named = {f"train_{name}": loss for name, loss in train_losses.items()}
    named |= {f"val_{name}": loss for name, loss in evaluation.losses.items()}
    state.history.append(
        {
            "epoch": len(state.history),
            "step": state.step,
            "train_loss": sum(
                loss for name, loss in train_losses.items() if name not in validation.pretext.adversarial_losses
            ),
            "val_loss": evaluation.loss,
            **(named if len(train_losses) > 1 else {}),
            **{f"val_{name}": score for name, score in evaluation.scores.items()},
            **(
                {source_loss(name): loss for name, loss in evaluation.restoration.items()}
                if len(evaluation.restoration) > 1
                else {}
            ),
            "contrast": evaluation.contrast if restores else math.nan,
            "learning_rate": learning_rate(config, state.step - 1) * state.divergence.learning_rate_factor,
            "skipped_steps": state.divergence.skipped_steps
            - sum(entry.get("skipped_steps", 0) for entry in state.history),
            "steps_per_second": steps_per_second,
        }
    )
    state.history[-1]["collapsed"] = warn_of_collapse(state.history, baselines)


def _share_epoch_losses(fabric: Fabric, state: TrainingState) -> None:
    """Average the step losses over processes; averaging again changes nothing."""
    for name, losses in state.epoch_losses.items():
        state.epoch_losses[name] = fabric.all_reduce(losses, reduce_op="mean")  # type: ignore[assignment]


def _record_losses(
    config: PretrainingConfig, state: TrainingState, losses: Mapping[str, torch.Tensor], marked: torch.Tensor
) -> None:
    """Note a step's losses; NaN where nothing was learned from them."""
    for name, loss in losses.items():
        if name not in state.epoch_losses:
            state.epoch_losses[name] = torch.zeros(config.iterations_per_epoch, device=loss.device)
        learned_from = torch.where(marked.detach().isfinite(), loss.detach().mean(), torch.nan)
        state.epoch_losses[name][state.step % config.iterations_per_epoch] = learned_from


def _agree(fabric: Fabric, agree_now: bool, stop: bool, save: bool) -> tuple[bool, bool]:
    """Whether any process wants to stop, and to save; the same answer everywhere."""
    if fabric.world_size == 1:
        return stop, save
    if not agree_now:
        return False, False
    votes = fabric.all_reduce(torch.tensor([stop, save], dtype=torch.float32, device=fabric.device), reduce_op="sum")
    stops, saves = (votes > 0).tolist()  # type: ignore[operator,union-attr]
    return stops, saves
