"""nnU-Net's ``nnUNetv2_train ... -num_gpus 2`` on a CPU: its own processes, gloo for NCCL, a CPU for the GPUs.

python two_processes.py DATASET CONFIGURATION FOLD -num_gpus 2 ...: the arguments of nnUNetv2_train.

Everything else is nnU-Net's: the processes that it spawns, the trainer that they find by its name, the division of the
batch, the training loop, and the validation that both share.
"""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.run import run_training
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as trainer_module
from torch import distributed, nn

run_ddp, get_trainer_from_args = run_training.run_ddp, run_training.get_trainer_from_args


def use_gloo(rank: int, world_size: int) -> None:
    distributed.init_process_group("gloo", rank=rank, world_size=world_size)


def make_cpu_trainer(*arguments: Any, **settings: Any) -> Any:
    trainer = get_trainer_from_args(*arguments, **{**settings, "device": torch.device("cpu")})
    # With DDP its constructor takes the GPU of the rank.
    trainer.device, trainer.grad_scaler = torch.device("cpu"), None
    return trainer


def wrap(network: nn.Module, device_ids: list[int]) -> nn.Module:  # noqa: ARG001 (GPUs that are not there)
    return nn.parallel.DistributedDataParallel(network)


def run_on_cpu(rank: int, *arguments: Any) -> None:
    """What nnU-Net's spawned processes run."""
    run_training.setup_ddp, run_training.get_trainer_from_args = use_gloo, make_cpu_trainer
    trainer_module.DDP, torch.cuda.set_device = wrap, lambda device: None  # noqa: ARG005
    run_ddp(rank, *arguments)


if __name__ == "__main__":
    run_training.run_ddp = run_on_cpu
    run_training.run_training_entry()
