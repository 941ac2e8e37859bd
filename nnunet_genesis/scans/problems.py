"""Why a scan cannot be used: one word for reports, one sentence for people."""

from __future__ import annotations

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


class ScanProblem(DataError):
    """One scan cannot be used; a pool goes on without it.

    Args:
        reason: The kind of problem.
        problem: What is wrong, with the offending value.
        where: The file or folder it concerns.
        mend: What mends it.
    """

    def __init__(
        self, reason: Reason, problem: str, *, where: str | Path | None = None, mend: str | None = None
    ) -> None:
        super().__init__(problem, where=where, mend=mend)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        """Keep reason and parts when the problem crosses a process boundary."""
        return (_rebuild, (self.reason, self.problem, self.where, self.mend))


def _rebuild(reason: Reason, problem: str, where: str | Path | None, mend: str | None) -> ScanProblem:
    return ScanProblem(reason, problem, where=where, mend=mend)
