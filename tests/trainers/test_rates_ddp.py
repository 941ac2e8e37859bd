"""Two processes (gloo) that change what trains take the steps that one process takes on both batches."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from nnunet_genesis.trainers.rates import EpochRates, encoder_of, enter_epoch, group_parameters, set_trainable
from nnunet_genesis.trainers.schedules import SAWTOOTH, Schedule
from tests.transfer.networks import build, snapshot

if TYPE_CHECKING:
    from pathlib import Path

EPOCHS = 6
SCHEDULE = Schedule(SAWTOOTH)


def batches(epoch: int, step: int) -> torch.Tensor:
    """(2 processes, 1 image, 1 channel, 8, 8, 8)."""
    return torch.randn(2, 1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(100 * epoch + step))


def train(rank: int | None, epochs: range, checkpoint: Path | None = None) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Train as nnU-Net's trainer does: optimiser, then DDP, then the checkpoint, then epochs."""
    network = build(seed=5)
    vars(network.get_submodule("decoder"))["deep_supervision"] = True  # nnU-Net's: every head has its part in the loss
    optimizer = torch.optim.SGD(group_parameters(network, SCHEDULE), 1e-3, momentum=0.99, nesterov=True)
    rates = EpochRates(optimizer, SCHEDULE, EPOCHS)
    set_trainable(encoder_of(network), trains=rates.settings(0).trains_encoder)
    inner = network
    if rank is not None:
        network = DistributedDataParallel(network)  # it fails where a gradient that it waits for never comes
    if checkpoint is not None:
        stored = torch.load(checkpoint, weights_only=True)
        inner.load_state_dict(stored["network"])
        optimizer.load_state_dict(stored["optimizer"])
    for epoch in epochs:
        network = enter_epoch(network, optimizer, rates.settings(epoch))
        rates.step(epoch)
        for step in range(3):
            pair = batches(epoch, step)
            images = pair.flatten(0, 1) if rank is None else pair[rank]
            optimizer.zero_grad(set_to_none=True)
            sum(output.square().mean() for output in network(images)).backward()
            optimizer.step()
    return inner, optimizer


def work(rank: int, port: int, folder: Path) -> None:
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    try:
        network, _ = train(rank, range(EPOCHS))
        torch.save(network.state_dict(), folder / f"whole_{rank}.pth")
        network, _ = train(rank, range(3, EPOCHS), folder / "after_epoch_2.pth")
        torch.save(network.state_dict(), folder / f"continued_{rank}.pth")
    finally:
        distributed.destroy_process_group()


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    network, optimizer = train(None, range(3))
    stored = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(stored, tmp_path / "after_epoch_2.pth")
    spawn(work, args=(port, tmp_path), nprocs=2)
    initial = snapshot(build(seed=5))
    expected = snapshot(train(None, range(EPOCHS))[0])
    for name in ("whole_0", "whole_1", "continued_0", "continued_1"):
        weights = torch.load(tmp_path / f"{name}.pth", weights_only=True)
        for key, tensor in expected.items():
            torch.testing.assert_close(weights[key], tensor, rtol=1e-4, atol=1e-6, msg=f"{name}: {key}")
            # Biases in front of a norm have no gradient.
            assert key.endswith("bias") or not torch.equal(tensor, initial[key]), key
