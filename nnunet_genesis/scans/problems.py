"""Why a scan cannot be used: one word for reports, one sentence for people."""

from __future__ import annotations

import errno
from enum import Enum
from typing import TYPE_CHECKING

from nnunet_genesis.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


class Reason(str, Enum):
    """Kinds of scans that are left out; the values are the words of ``report.csv``."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    CONSTANT = "constant"
    FEW_VALUES = "few values"
    NOT_FINITE = "not finite"
    CHANNELS = "channels"
    DIMENSIONS = "dimensions"
    MISSING_SLICES = "missing slices"
    UNEVEN_SLICES = "uneven slices"
    SPACING = "spacing"
    TOO_LARGE = "too large"
    DUPLICATE = "duplicate"
    EXCLUDED = "excluded"
    CRASHED = "reader crashed"
    TIMED_OUT = "timed out"

    def __str__(self) -> str:
        """The word itself, in every version of Python."""
        return self.value


_MENDS = {
    Reason.UNREADABLE: "copy the scan again from where it comes from, or leave it out",
    Reason.EMPTY: "copy the scan again from where it comes from, or leave it out",
    Reason.CONSTANT: "leave it out: nothing can be learnt from it",
    Reason.FEW_VALUES: "leave label maps out",
    Reason.NOT_FINITE: "replace these voxels by numbers, or leave the scan out",
    Reason.CHANNELS: "give files with the channels of the plans, or --single-channel",
    Reason.DIMENSIONS: "give volumes, or leave it out",
    Reason.SPACING: "correct the spacing in its header",
    Reason.TOO_LARGE: "a higher --max-voxels, if the machine has the memory",
}


class ScanProblem(DataError):
    """One scan cannot be used; a pool goes on without it.

    Args:
        reason: The kind of problem.
        problem: What is wrong, with the offending value.
        where: The file or folder it concerns.
        mend: What mends it; where nothing is said, what mends such scans as a rule.
        is_passing: Whether the machine or its files failed, so that nothing is known of the scan itself.
    """

    def __init__(
        self,
        reason: Reason,
        problem: str,
        *,
        where: str | Path | None = None,
        mend: str | None = None,
        is_passing: bool = False,
    ) -> None:
        super().__init__(problem, where=where, mend=mend or _MENDS.get(reason))
        self.reason, self.is_passing = reason, is_passing

    def __reduce__(self) -> tuple[object, ...]:
        """Keep reason and parts when the problem crosses a process boundary."""
        return (_rebuild, (self.reason, self.problem, self.where, self.mend, self.is_passing))


def is_system_error(error: BaseException | None) -> bool:
    """Whether the operating system said it: no permission, a server that is away, a file that has vanished.

    What a file holds is not told so: gzip's errors have no number, and a place that no file has is an invalid argument.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _rebuild(
    reason: Reason, problem: str, where: str | Path | None, mend: str | None, is_passing: bool = False
) -> ScanProblem:
    return ScanProblem(reason, problem, where=where, mend=mend, is_passing=is_passing)
