"""Locks on files, which keep two processes from writing the same thing; loud where the file system has none."""

from __future__ import annotations

import errno
import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nnunet_genesis.errors import GenesisError

LOGGER = logging.getLogger("nnunet_genesis")
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What the system says of a lock where the file system has none: Lustre without ``flock``, NFS without its daemon."""
SECONDS_BEFORE_TOLD = 10.0


def file_lock(file: Path, without: str) -> FileLock | None:
    """The lock of a file, not taken yet; None, and a warning, where the file system has no locks.

    Libraries tell missing locks apart from a lock that somebody else has in some of their versions only.

    Args:
        file: Made if need be, in a folder that exists.
        without: What the user is to heed where nothing keeps two processes apart.

    Raises:
        OSError: If the file cannot be opened.
    """
    if sys.platform == "win32":
        return FileLock(file, timeout=0)
    import fcntl

    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        LOGGER.warning("%s: this file system has no locks (%s): %s", file.parent, error, without)
        return None
    finally:
        os.close(descriptor)
    return FileLock(file, timeout=0)


@contextmanager
def locked_file(
    file: Path, refusal: GenesisError, without: str, *, seconds: float = 0.0, waits_for: str = "another process"
) -> Iterator[None]:
    """Keep other processes from what a file stands for; its folder is made if need be.

    Where the file system has no locks, nothing keeps them from it, and a warning says so.

    Args:
        file: Of the lock.
        refusal: Raised where another process has the lock for longer than `seconds`.
        without: What the user is to heed where there are no locks.
        seconds: How long to wait for the other process.
        waits_for: Told in a warning after 10 s.

    Raises:
        GenesisError: The refusal.
        OSError: If the file cannot be opened.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file_lock(file, without)
    if lock is None:
        yield
        return
    try:
        try:
            lock.acquire(timeout=min(SECONDS_BEFORE_TOLD, seconds))
        except Timeout:
            if seconds <= SECONDS_BEFORE_TOLD:
                raise
            LOGGER.warning("%s: waiting for %s", file.parent, waits_for)
            lock.acquire(timeout=seconds)
    except Timeout as error:
        raise refusal from error
    try:
        yield
    finally:
        lock.release()
