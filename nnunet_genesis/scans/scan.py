"""A raw scan: which files hold which channel."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from nnunet_genesis.scans.detached import detached_data_files
from nnunet_genesis.scans.problems import Reason, ScanProblem, is_system_error
from nnunet_genesis.scans.tiff import spacing_files


@dataclass(frozen=True)
class Scan:
    """The files of one scan.

    Attributes:
        identifier: Name of the case: file-system safe and unique among the scans that were found together.
        channels: Absolute paths per channel: one file, or the slices of a DICOM series sorted along their normal. A
            single file may hold several channels; whether it does is seen when it is read.
    """

    identifier: str
    channels: tuple[tuple[str, ...], ...]

    def signature(self) -> str:
        """SHA-256 (hex) over paths, sizes and modification times of all files: equal if nothing was touched.

        Raises:
            ScanProblem: If a file has vanished or cannot be looked at (reason ``unreadable``).
        """
        digest = hashlib.sha256()
        for channel in self.channels:
            for path in channel:
                digest.update(_look_at(path))
            digest.update(b"\0\0")
        return digest.hexdigest()

    def sources(self) -> list[str]:
        """One line per channel for reports: the file, or the folder of a series with its number of slices."""
        return [
            channel[0] if len(channel) == 1 else f"{Path(channel[0]).parent} ({len(channel)} slices)"
            for channel in self.channels
        ]


def _look_at(path: str) -> bytes:
    """Names, sizes and modification times of a file and of those that belong to it."""
    told = b""
    try:
        for file in (path, *detached_data_files(path), *spacing_files(path)):
            status = Path(file).stat()
            told += os.fsencode(file) + b"\0%d\0%d\0" % (status.st_size, status.st_mtime_ns)
    except (OSError, ValueError) as error:
        raise ScanProblem(
            Reason.UNREADABLE,
            f"the file cannot be looked at ({type(error).__name__}: {error})",
            where=path,
            mend="put it back, or leave the scan out",
            is_passing=is_system_error(error),
        ) from error
    return told
