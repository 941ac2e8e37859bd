"""What the first process of a training on several GPUs does alone, for as long as it takes."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = timedelta(days=1)


@contextmanager
def others_wait(warn: Callable[[str], None]) -> Iterator[None]:
    """Let the processes of a training meet at the end of this block, however long one of them takes.

    nnU-Net's own meeting points are NCCL's, which end the training after 10 minutes of waiting.

    Args:
        warn: Told where the processes cannot wait, and go on to nnU-Net's next meeting point.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        yield
        return
    try:
        group = distributed.new_group(backend="gloo", timeout=PATIENCE)  # of all processes
    except (RuntimeError, ValueError) as error:  # gloo finds no address of this host, or torch was built without it
        warn(
            f"WARNING: the other processes cannot wait for the first one ({str(error).splitlines()[0]}): what takes it"
            " longer than 10 minutes may end this training; the same command then goes on from there."
        )
        yield
        return
    yield
    distributed.barrier(cast("distributed.ProcessGroup", group))
    distributed.destroy_process_group(group)
