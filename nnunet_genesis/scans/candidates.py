"""Scans and problems as they are found, before they have names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.scans.problems import Reason, ScanProblem, is_system_error

if TYPE_CHECKING:
    from nnunet_genesis.scans.naming import Place


@dataclass(frozen=True)
class Candidate:
    """Something that may be a scan.

    Attributes:
        place: Decides its name.
        source: File or folder for reports.
        channels: As of `Scan`; empty where there is a problem.
        problem: Why it cannot be used; None if nothing speaks against it before it is read.
        series: The same for DICOM files that share series, size and orientation, whichever folder they are in; empty
            for other files.
    """

    place: Place
    source: str
    channels: tuple[tuple[str, ...], ...] = ()
    problem: ScanProblem | None = None
    series: str = ""


def unreadable(place: Place, source: str, error: Exception) -> Candidate:
    """A candidate that stumbled over an error of the operating system or of a reader."""
    detail = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {detail[0]}" if detail else type(error).__name__
    problem = ScanProblem(Reason.UNREADABLE, text, where=source, is_passing=is_system_error(error))
    return Candidate(place, source, problem=problem)
