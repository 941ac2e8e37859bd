"""Devices, processes and precision, by Lightning Fabric."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.machine import available_cores, count_cores
from nnunet_genesis.pretraining.joining import join_processes
from nnunet_genesis.pretraining.launching import start_processes, starts_processes
from nnunet_genesis.pretraining.processes import LONGEST_WAIT, TORCHRUN_ID_VARIABLE, count_processes

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")


def launch_fabric(device: str, num_devices: int, precision: str) -> Fabric:
    """Start the processes of a run and return this one's engine.

    Under torchrun the processes exist already: their number and hosts come from its environment.

    Args:
        device: "cuda", "cpu" or "mps", nnU-Net's names.
        num_devices: Processes on this host, one per GPU (or CPU processes).
        precision: "auto" or one of Lightning's names.

    Raises:
        SetupError: If the device is not there, or fewer of it than asked for.
    """
    check_device(device, num_devices, precision)
    num_devices, num_nodes = count_processes(num_devices)
    distributed = num_devices * num_nodes > 1
    if distributed and num_nodes == 1 and starts_processes():
        start_processes(num_devices)
    if distributed:
        join_processes(device)
    fabric = Fabric(
        accelerator=device,
        devices=num_devices,
        num_nodes=num_nodes,
        # The heads for deep supervision exist in nnU-Net's networks but take no part in restoration.
        strategy=DDPStrategy(find_unused_parameters=True, timeout=LONGEST_WAIT) if distributed else "auto",
        precision=_resolve_precision(device, precision),  # type: ignore[arg-type]
        # SLURM's variables are around wherever a job of it runs, and say nothing of the processes that we started.
        plugins=[TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()],
    )
    fabric.launch()
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    elif device == "cpu" and distributed:
        torch.set_num_threads(max(1, count_cores() // count_sharers()))
    return fabric


def count_sharers() -> int:
    """Processes of this run that share cores with this one, itself included; SLURM's tasks may have their own."""
    own = (platform.node(), frozenset(available_cores()))
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, own)
    return sum(host == own[0] and not own[1].isdisjoint(cores) for host, cores in everyone)


def should_compile(device: str) -> bool:
    """Follow nnU-Net: compile on CUDA, except on Windows or where ``nnUNet_compile`` says no."""
    wanted = os.environ.get("nnUNet_compile", "true").lower() in ("true", "1", "t")
    return device == "cuda" and os.name != "nt" and wanted


def check_device(device: str, num_devices: int, precision: str) -> None:
    """Make sure that what `launch_fabric` is asked for is there; starts nothing.

    Raises:
        SetupError: If it is not.
    """
    num_devices = count_processes(num_devices)[0]
    if device == "cuda":
        available = torch.cuda.device_count()
        if available < num_devices:
            if available and TORCHRUN_ID_VARIABLE in os.environ:
                raise SetupError(
                    f"{num_devices} processes were started on this host, and each sees {available} CUDA device(s)",
                    mend=f"--nproc_per_node {available}, or let every process see all of them (SLURM:"
                    " --gpus-per-node, without --gpus-per-task)",
                )
            raise SetupError(
                f"-device cuda -num_gpus {num_devices}: {available} CUDA device(s) found",
                mend="-device cpu" if available == 0 else f"-num_gpus {available}",
            )
    elif device == "mps":
        if not torch.backends.mps.is_available():
            raise SetupError("-device mps: not available on this machine", mend="-device cpu")
        if num_devices > 1:
            raise SetupError(f"-device mps -num_gpus {num_devices}: there is one such device", mend="-num_gpus 1")
    if precision == "16-mixed" and device == "cpu":
        raise SetupError("--precision 16-mixed: processors have no half precision", mend="--precision bf16-mixed")


def _resolve_precision(device: str, precision: str) -> str:
    if precision != "auto":
        return precision
    if device != "cuda":
        return "32-true"
    # torch calls emulated bfloat16 "supported" too; only from compute capability 8 on is it fast.
    native = torch.version.hip is not None or torch.cuda.get_device_capability()[0] >= 8
    return "bf16-mixed" if native else "16-mixed"


def on_first_process(fabric: Fabric, action: Callable[[], ResultT]) -> ResultT:
    """Do something in the first process; all others get its result, or fail with its error."""
    outcome: ResultT | GenesisError | OSError | None = None
    if fabric.is_global_zero:
        try:
            outcome = action()
        except (GenesisError, OSError) as error:
            outcome = error
    outcome = fabric.broadcast(outcome)
    if isinstance(outcome, (GenesisError, OSError)):
        raise outcome
    return cast("ResultT", outcome)
