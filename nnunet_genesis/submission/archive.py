"""Archives that depend on nothing but the names and bytes of what is in them."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from typing import IO, TYPE_CHECKING

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ARCHIVES = ("zip", "tar")
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip archive can hold."""


def write_archive(file: Path, entries: Mapping[str, Callable[[], bytes]]) -> None:
    """Write an archive under a temporary name, read it back, and rename it.

    Entries are sorted and have no date, owner or attributes of their own: the same content gives the same bytes.

    Args:
        file: New file; its ending, ``.zip`` or ``.tar``, decides.
        entries: Name in the archive to a function that gives the bytes.

    Raises:
        SetupError: If the file exists.
    """
    refuse_existing(file)
    part = file.with_name(f".{file.name}.tmp")
    try:
        with part.open("wb") as stream:
            (_write_zip if file.suffix == ".zip" else _write_tar)(stream, entries)
            stream.flush()
            os.fsync(stream.fileno())
        if sorted(list_archive(part, file.suffix)) != sorted(entries):
            raise OSError(f"{part} cannot be read back")
        refuse_existing(file)
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)


def refuse_existing(file: Path) -> None:
    """Make sure that a file can be written.

    Raises:
        SetupError: If it exists.
    """
    if file.exists():
        raise SetupError(
            "the file is there already, and is not replaced",
            where=file,
            mend="name another folder with --output, or delete this file",
        )


def list_archive(file: Path, suffix: str) -> list[str]:
    """Names of the files in an archive, after all of it was read."""
    if suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            return [name for name in archive.namelist() if name != damaged]
    with tarfile.open(file) as tar:
        return [member.name for member in tar if _length(tar.extractfile(member)) == member.size]


def _length(stream: IO[bytes] | None) -> int:
    return 0 if stream is None else len(stream.read())


def _write_zip(stream: IO[bytes], entries: Mapping[str, Callable[[], bytes]]) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(entries):
            entry = zipfile.ZipInfo(name, _FIRST_DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            # What is compressed already does not shrink.
            entry.compress_type = zipfile.ZIP_STORED if name.endswith((".gz", ".png")) else zipfile.ZIP_DEFLATED
            archive.writestr(entry, entries[name]())


def _write_tar(stream: IO[bytes], entries: Mapping[str, Callable[[], bytes]]) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(entries):
            content = entries[name]()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
