"""Loader processes that the system ended: who, by what, and what helps."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnunet_genesis.errors import GenesisError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([^.]+)|exited unexpected)")


@contextmanager
def naming_dead_loaders(workers: int) -> Iterator[None]:
    """Turn torch's errors about loader processes into ones that tell what to do.

    Args:
        workers: Loader processes of this process.

    Raises:
        SetupError: If one was ended.
    """
    try:
        yield
    except RuntimeError as error:
        found = _DEATH.search(str(error))
        if found is None:
            raise
        raise _describe(found[1], (found[2] or "").strip(), workers) from error


def _describe(pid: str, by: str, workers: int) -> GenesisError:
    fewer = f"-np {max(1, workers // 2)}" if workers > 1 else "-np 0, which reads in the main process,"
    go_on = "then go on with --c"
    if by == "Killed":
        return SetupError(
            f"loader process {pid} was killed (SIGKILL): the system's memory killer does this when memory runs out, and"
            " hardly anything else does",
            mend=f"fewer loader processes: {fewer} instead of -np {workers}, or more memory for the job"
            f" (dmesg tells more); {go_on}",
        )
    if by == "Bus error":
        return SetupError(
            f"loader process {pid} died of a bus error: shared memory is full, or a file was cut short or vanished"
            " while it was read",
            mend="look at df -h /dev/shm (docker: --shm-size=8g, or --ipc=host), or use fewer loader processes:"
            f" {fewer} instead of -np {workers}; look at the disk of the preprocessed cases; {go_on}",
        )
    return SetupError(
        f"loader process {pid} died ({by or 'without a word; a memory killer may have ended it'})",
        mend=f"fewer loader processes if memory is short: {fewer} instead of -np {workers}; -np 0 shows where an error"
        f" happens; {go_on}",
    )
