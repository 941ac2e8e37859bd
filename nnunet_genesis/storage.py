"""Files that cannot be written: what the system's error means, and what mends it."""

from __future__ import annotations

import errno
import getpass
import os
import shlex
import shutil
from typing import TYPE_CHECKING

from nnunet_genesis.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

_UNREACHABLE = (errno.ENOENT, errno.ENOTCONN, errno.EIO, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO, errno.ESTALE)


def storage_error(error: OSError, file: Path, needed: int | None = None) -> StorageError:
    """Say in words why a file cannot be written.

    Args:
        error: What the system said.
        file: What was to be written, or the folder for it.
        needed: Bytes that it takes, where that is known.
    """
    folder = _existing_folder(file) or file.parent
    takes = "" if needed is None else f"; {file.name} takes {in_words(needed)}"
    mend: str | None = None
    if error.errno == errno.ENOSPC:
        problem = f"the disk is full{takes}, {in_words(shutil.disk_usage(folder).free)} are free"
        mend = f"free space: df -h {shlex.quote(str(folder))}"
    elif error.errno == getattr(errno, "EDQUOT", None):
        problem, mend = f"your quota is used up{takes}", "remove files of yours: quota -s"
    elif error.errno == errno.EFBIG:
        problem = f"the file is larger than files may be here{takes}"
        mend = "raise the limit (ulimit -f unlimited), or --output on another file system"
    elif error.errno == errno.EROFS:
        problem, mend = "the file system is read-only", "mount it writable, or --output in a folder that is"
    elif error.errno in (errno.EACCES, errno.EPERM):
        problem = f"{_user()} may not write here (permission denied)"
        mend = f"chmod u+w {shlex.quote(str(folder))}, ask its owner, or --output in a folder of your own"
    elif error.errno in _UNREACHABLE:
        problem = f"the folder has vanished or cannot be reached ({error.strerror})"
        mend = f"make sure that the file system is mounted: df {shlex.quote(str(file.parent))}"
    else:
        problem = f"the file cannot be written ({error.strerror or error})"
    return StorageError(problem, where=file, mend=mend)


def cannot_write(error: OSError) -> bool:
    """Whether an error can only come from writing."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG, errno.EROFS)


def system_error_in(error: BaseException | None) -> OSError | None:
    """The system's error that an error was raised for or while handling, if any: torch hides it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def in_words(count: int) -> str:
    """A number of bytes, e.g. "1.3 GB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def check_free_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to start what the disk has no room for; a quota is not seen by this.

    Raises:
        StorageError: If less than `needed` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{purpose} takes up to {in_words(needed)}, {in_words(free)} are free",
            where=folder,
            mend=f"free space there (df -h {shlex.quote(str(folder))}), or --output on another disk",
        )


def _existing_folder(file: Path) -> Path | None:
    try:
        return next(folder for folder in (file, *file.parents) if folder.is_dir())
    except (OSError, StopIteration):
        return None


def _user() -> str:
    try:
        return f"user {getpass.getuser()}"
    except (KeyError, OSError):
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
