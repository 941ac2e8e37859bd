"""Files that a reader sees whole or not at all, whenever the one who writes them dies."""

from __future__ import annotations

import errno
import glob
import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


PART_SUFFIX = ".tmp"
SECONDS_UNTIL_STALE = 3600
"""A part that nobody has written to for so long belongs to a process that was killed."""


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a name beside a file to write to; it takes the file's place at the end, and is removed after an error.

    After a power cut, too, the file is the old one or the new one, but never an empty one.

    A process that is killed leaves its part behind; who writes the file an hour later or more removes it.

    Args:
        file: In a folder that exists; what it held stays where writing fails.

    Raises:
        OSError: If the folder cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}{PART_SUFFIX}")
    try:
        yield part
        _flush(part)
        written = part.stat().st_mtime
        part.replace(file)
        with suppress(OSError):
            remove_parts(file, before=written - SECONDS_UNTIL_STALE)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _flush(file: Path) -> None:
    with file.open("r+b") as stream:
        try:
            os.fsync(stream.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # a file system that cannot do it
                raise


def remove_parts(file: Path, *, before: float = float("inf")) -> None:
    """Remove parts of a file that killed processes left beside it.

    Args:
        file: That the parts would have become.
        before: Only those last written to before this time, in seconds since the epoch by the clock of the disk.

    Raises:
        OSError: If the folder cannot be written.
    """
    for part in file.parent.glob(f".{glob.escape(file.name)}.*{PART_SUFFIX}"):
        with suppress(FileNotFoundError):
            if part.stat().st_mtime < before:
                part.unlink()


def flush_folder(folder: Path) -> None:
    """Make sure that the names of files in a folder survive a power cut, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(content: Any, file: Path, *, indent: int = 1) -> None:
    """Write a file of JSON, whole or not at all.

    Raises:
        OSError: If the folder cannot be written.
    """
    with replacing(file) as part:
        part.write_text(json.dumps(content, indent=indent) + "\n")
