"""Loader processes that the system ended: who, by what, and what helps."""

from __future__ import annotations

import re
import signal
from contextlib import contextmanager, suppress
from multiprocessing import active_children
from typing import TYPE_CHECKING, Any, TypeVar

from nnunet_genesis.errors import GenesisError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.process import BaseProcess

    from torch.utils.data import DataLoader

BatchT = TypeVar("BatchT")
SECONDS_TO_END = 5.0
_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")


@contextmanager
def loading(loader: DataLoader[BatchT]) -> Iterator[Iterator[BatchT]]:
    """Yield the batches of a loader, name processes of it that die, and end the others, whatever ends the block.

    Torch ends them when the garbage collector gets to it. Ours do not hear SIGTERM, so that the interpreter would wait
    for one that is left over for ever.

    Raises:
        SetupError: If a process died.
    """
    others, batches = set(active_children()), iter(loader)
    loaders = set(active_children()) - others
    try:
        yield batches
    except (RuntimeError, OSError, EOFError) as error:  # what one meets first: torch's alarm, or a broken connection
        _let_end(batches)
        dead = _find_dead(loaders, str(error))
        if dead is None:
            raise
        raise _describe(dead.pid, max(0, -(dead.exitcode or 0)), len(loaders)) from error
    finally:
        _let_end(batches)
        for process in loaders:
            if process.is_alive():
                process.kill()
            process.join()


def _let_end(batches: Iterator[Any]) -> None:
    """Let torch end its processes, which also ends its alarm on their deaths; again changes nothing."""
    end = getattr(batches, "_shutdown_workers", None)  # a loader without processes has none
    if end is not None:
        with suppress(RuntimeError, OSError):  # the alarm once more
            end()


def _find_dead(loaders: Iterable[BaseProcess], told: str) -> BaseProcess | None:
    """The process that an error is about, or one that died, if any; all of them have ended, or were told to."""
    for process in loaders:
        process.join(SECONDS_TO_END)
    dead = [process for process in loaders if process.exitcode]
    named = _DEATH.search(told)
    pids = named[1].split(", ") if named is not None else []
    return next((process for process in dead if str(process.pid) in pids), dead[0] if dead else None)


def _describe(pid: int | None, by: int, workers: int) -> GenesisError:
    fewer = f"-np {workers // 2}" if workers > 1 else "-np 0, which reads in the main process,"
    go_on = "then go on with --c"
    if by == getattr(signal, "SIGKILL", None):
        return SetupError(
            f"loader process {pid} was killed (SIGKILL): the system's memory killer does this when memory runs out, and"
            " hardly anything else does",
            mend=f"fewer loader processes: {fewer} instead of -np {workers}, or more memory for the job"
            f" (dmesg tells more); {go_on}",
        )
    if by == getattr(signal, "SIGBUS", None):
        return SetupError(
            f"loader process {pid} died of a bus error: shared memory is full, or a file was cut short or vanished"
            " while it was read",
            mend="look at df -h /dev/shm (docker: --shm-size=8g, or --ipc=host), or use fewer loader processes:"
            f" {fewer} instead of -np {workers}; look at the disk of the preprocessed cases; {go_on}",
        )
    return SetupError(
        f"loader process {pid} died ({signal.Signals(by).name if by else 'by no signal'})",
        mend=f"fewer loader processes if memory is short: {fewer} instead of -np {workers}; -np 0 shows where an error"
        f" happens; {go_on}",
    )
