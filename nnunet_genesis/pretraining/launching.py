"""The processes of ``-num_gpus``: this one is the first, the others run the same command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import __main__

FIRST_PROCESS = "NNUNET_GENESIS_FIRST_PROCESS"
"""Variable with the id of the process that started this one."""
CHILDREN: list[subprocess.Popen[bytes]] = []
"""Ranks 1, 2, ... of this host, where this process started them."""


def starts_processes() -> bool:
    """Whether nobody has started the processes yet: neither torchrun nor this function in another process."""
    return "LOCAL_RANK" not in os.environ


def start_processes(count: int) -> None:
    """Start ranks 1 to `count` - 1 with the command of this process, which becomes rank 0 (torchrun's variables)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_RANK="0", LOCAL_RANK="0", WORLD_SIZE=str(count)
    )
    variables = {**os.environ, FIRST_PROCESS: str(os.getpid())}
    for rank in range(1, count):
        child = subprocess.Popen(_own_command(), env={**variables, "LOCAL_RANK": str(rank)})
        CHILDREN.append(child)


def lost_first_process() -> bool:
    """Whether rank 0 started this process, and is no more."""
    return FIRST_PROCESS in os.environ and os.getppid() != int(os.environ[FIRST_PROCESS])


def ended_child() -> tuple[int, str] | None:
    """The first child that failed: its rank, and how it ended."""
    for rank, child in enumerate(CHILDREN, start=1):
        code = child.poll()
        if code:
            return rank, describe_exit(code)
    return None


def end_children() -> None:
    """Kill what this process started, also where it hangs in a collective."""
    for child in CHILDREN:
        if child.poll() is None:
            child.kill()


def wait_for_children() -> None:
    """Wait until they have ended, each in its own way."""
    while CHILDREN:
        CHILDREN.pop().wait()


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"it ended with exit code {code}; its own message is above"
    name = signal.strsignal(-code) or "unknown"
    hint = "; the system does that where memory runs out: lower -np or --batch-size" if -code == 9 else ""
    return f"it was killed by signal {-code} ({name}){hint}"


def _own_command() -> list[str]:
    if __main__.__spec__ is not None:
        return [sys.executable, "-m", __main__.__spec__.name, *sys.argv[1:]]
    return [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]  # noqa: PTH100
