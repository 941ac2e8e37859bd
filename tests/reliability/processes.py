"""Real processes that are connected by gloo, quick to start: forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = 900
"""A hang ends the test."""


def run_in_processes(function: Callable[..., object], count: int, folder: Path, *arguments: object) -> list[int]:
    """Call ``function(rank, *arguments)`` in processes with torchrun's variables.

    Returns:
        Exit codes; what the processes wrote lies in ``<rank>.txt`` in `folder`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nnunet_genesis.pretraining.run", "nnunet_genesis.cli"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {name: value for name, value in os.environ.items() if name.startswith("nnUNet")}
    variables |= {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    folder.mkdir(parents=True, exist_ok=True)
    processes = [
        context.Process(target=_enter, args=(function, rank, variables, folder, arguments)) for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    hanging = [process for process in processes if process.exitcode is None]
    for process in hanging:
        process.kill()
    assert not hanging, f"{len(hanging)} processes hang"
    return [process.exitcode or 0 for process in processes]


def _enter(
    function: Callable[..., object],
    rank: int,
    variables: dict[str, str],
    folder: Path,
    arguments: tuple[object, ...],
) -> None:
    import torch

    os.environ.update(variables, RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    output = os.open(folder / f"{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    function(rank, *arguments)
