"""Two processes (gloo) that train network and heads of the Universal Model take the steps of one with both halves."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from nnunet_genesis.config import UniversalModelConfig
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.pretraining.pretexts.parts import PartHeads
from nnunet_genesis.pretraining.pretexts.universal_model import UniversalModel
from tests.pretraining.pretexts.devices import generator
from tests.pretraining.pretexts.test_universal_model import restoration
from tests.transfer.networks import build, snapshot

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 6
MODALITIES = {"labelled": ("MRI",), "archive": ("CT",)}


def train(rank: int | None, kind: str) -> nn.Module:
    """Steps on batches of four patches, or on this process's half of them."""
    config = UniversalModelConfig(
        scale_weight=0.1,
        adversary="discriminant" if kind == "discriminant" else "classifier",
        adversary_weight=0.1,
        alternating=kind == "in turns",
    )
    pretext = UniversalModel(restoration((8, 8, 8)), config, MODALITIES)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = PretextNetwork(build(outputs=1, seed=5), PartHeads(pretext.parts, 16))
    # Heads of deep supervision have no gradients here.
    wrapped = network if rank is None else DistributedDataParallel(network, find_unused_parameters=True)
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.9)
    half = slice(None) if rank is None else slice(2 * rank, 2 * rank + 2)
    for step in range(STEPS):
        patches = torch.randn(4, 1, 8, 8, 8, generator=generator(step))[half]
        labels = {
            "source": torch.tensor([0, 1, 1, 0])[half],
            "scale": torch.tensor([0, 2, -1, 1])[half],
        }
        inside = torch.tensor([[0, 8]] * 3).expand(len(patches), -1, -1)
        pairs = pretext.make_pairs(patches, inside, pretext.sample(4, generator(100 + step)).select(half))
        pretext.enter_step(network.heads, step, step / STEPS)
        outputs = wrapped(pairs.distorted, pairs.target)
        losses = {
            **pretext.restoration_losses(outputs.restored, pairs),
            **pretext.head_losses(network.heads, outputs.heads, labels),
        }
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum(0).mean().backward()
        optimizer.step()
    return network


def work(rank: int, port: int, folder: Path, kind: str) -> None:
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    try:
        torch.save(train(rank, kind).state_dict(), folder / f"{rank}.pth")
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["discriminant", "classifier", "in turns"])
def test_two_processes_take_the_steps_of_one(tmp_path: Path, kind: str) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    spawn(work, args=(port, tmp_path, kind), nprocs=2)
    expected = snapshot(train(None, kind))
    for rank in range(2):
        weights = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert float(weights["heads.standardization.num_batches"]) == STEPS
        for key, tensor in expected.items():
            # Features are differences of averages that hardly differ, thirty times enlarged, and so is their rounding.
            bound = 1e-3 if key.endswith("modality.features") else 1e-5
            torch.testing.assert_close(weights[key], tensor, rtol=1e-4, atol=bound, msg=f"process {rank}: {key}")
