"""Apply a schedule to an optimiser and a network: rates, what trains, momentum, and DDP's view of it.

One optimiser with fixed groups lives through all stages, because nnU-Net stores its state in every checkpoint and loads
it into a fresh optimiser before it is known at which epoch a run continues. Stages change rates and ``requires_grad``:
a parameter without gradient is skipped by SGD, so that a frozen one gets neither weight decay nor momentum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nnunet_genesis.errors import SetupError
from nnunet_genesis.trainers.schedules import settings_of_epoch
from nnunet_genesis.transfer import unwrap

if TYPE_CHECKING:
    from nnunet_genesis.trainers.schedules import EpochSettings, Schedule

DECODER, ENCODER = "decoder", "encoder"


def encoder_of(network: nn.Module) -> nn.Module:
    """The encoder inside nnU-Net's network and its wrappers.

    Raises:
        SetupError: If there is none.
    """
    encoder = getattr(unwrap(network), "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise SetupError(
            f"{type(unwrap(network)).__name__} has no encoder apart from a decoder, which the trainer's name asks for",
            mend="train with stock nnUNetv2_train (-tr nnUNetTrainer), or with plans of a U-Net",
        )
    return encoder


def group_parameters(network: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Parameter groups: everything but the encoder first, then the encoder, by stages where they differ.

    nnU-Net's log shows the rate of the first group.

    Returns:
        For the optimiser: ``name``, ``params`` and ``factor``, the rate over that of the decoder.
    """
    encoder = encoder_of(network)
    inside = {id(parameter) for parameter in encoder.parameters()}
    others = [parameter for parameter in network.parameters() if id(parameter) not in inside]
    groups: list[dict[str, Any]] = [{"name": DECODER, "params": others, "factor": 1.0}]
    if not schedule.layerwise:
        return [*groups, {"name": ENCODER, "params": list(encoder.parameters()), "factor": 1.0}]
    stages = list(encoder.get_submodule("stages").children())
    staged = [list(stage.parameters()) for stage in stages]
    known = {id(parameter) for stage in staged for parameter in stage}
    # What is in no stage is the stem of a residual encoder: it comes before the first stage and learns like it.
    staged[0] = [parameter for parameter in encoder.parameters() if id(parameter) not in known] + staged[0]
    return groups + [
        {"name": f"{ENCODER} stage {number}", "params": parameters, "factor": factor}
        for number, (parameters, factor) in enumerate(zip(staged, schedule.encoder_factors(len(stages)), strict=True))
    ]


class EpochRates:
    """Stands where nnU-Net has its learning rate scheduler, and is called like it at the start of every epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule, num_epochs: int) -> None:
        self._optimizer, self._schedule, self._num_epochs = optimizer, schedule, num_epochs
        # Kept apart from the groups, which loading a checkpoint replaces.
        self._factors = [(group["name"] == DECODER, float(group["factor"])) for group in optimizer.param_groups]
        self.step(0)

    def step(self, current_step: int) -> None:
        """Set the rates of an epoch; those of what does not train are 0."""
        settings = self.settings(current_step)
        for group, (is_decoder, factor) in zip(self._optimizer.param_groups, self._factors, strict=True):
            group["lr"] = settings.learning_rate * factor if is_decoder or settings.trains_encoder else 0.0

    def settings(self, epoch: int) -> EpochSettings:
        """What holds during an epoch."""
        return settings_of_epoch(self._schedule, epoch, self._num_epochs)


def enter_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, settings: EpochSettings) -> nn.Module:
    """Make an epoch's parameters trainable and no others; drop momentum where the settings say so.

    Under DistributedDataParallel the network is wrapped again where that changes something: DDP decides at
    construction which gradients it waits for. All processes reach the same epoch, so all wrap at the same time.

    Returns:
        The network to train, another wrapper of the same network where it was wrapped again.
    """
    if settings.clears_momentum:
        optimizer.state.clear()
    if not set_trainable(encoder_of(network), trains=settings.trains_encoder):
        return network
    if isinstance(network, nn.parallel.DistributedDataParallel):
        # The hooks of the old wrapper on the gradients go with it.
        network = nn.parallel.DistributedDataParallel(network.module, device_ids=network.device_ids)
    inner = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
    if inner is not unwrap(network):
        # Compiled for other gradients; not every release of torch notices by itself.
        torch.compiler.reset()
    return network


def set_trainable(module: nn.Module, *, trains: bool) -> bool:
    """Let a module's parameters train, or not; returns whether that changed anything."""
    changed = False
    for parameter in module.parameters():
        changed |= parameter.requires_grad != trains
        parameter.requires_grad_(trains)
        if not trains:
            parameter.grad = None
    return changed
