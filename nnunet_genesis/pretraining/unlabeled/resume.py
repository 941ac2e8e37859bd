"""Which scans of a run are in the pool already, and under which name the others go into it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nnunet_genesis.scans.finding import SkippedScan
from nnunet_genesis.scans.problems import ScanProblem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.pretraining.unlabeled.pool import PoolCase
    from nnunet_genesis.scans.scan import Scan


@dataclass(frozen=True)
class SortedScans:
    """What is to be done.

    Attributes:
        kept: Names of cases of the pool whose files were found again, untouched.
        pending: Scans to read, in the order of their names.
        skipped: Scans whose files vanished meanwhile.
    """

    kept: list[str] = field(default_factory=list)
    pending: list[Scan] = field(default_factory=list)
    skipped: list[SkippedScan] = field(default_factory=list)


def sort_scans(scans: Sequence[Scan], cases: Sequence[PoolCase], folder: Path) -> SortedScans:
    """Compare what was found with what is in the pool.

    A scan is in the pool if a case was made of the same files, untouched since, and its image is whole; it may have had
    another name then. A scan whose files changed takes the place of its case. A scan that only has the same name as
    a case made of other files (an earlier run on another folder) gets a name of its own.

    Args:
        scans: Scans that were found.
        cases: Cases of the pool.
        folder: The pool's folder.
    """
    sizes = _file_sizes(folder) if cases else {}
    by_signature = {case.signature: case for case in cases if sizes.get(case.file) == case.bytes}
    by_name = {case.identifier: case for case in cases}
    result = SortedScans()
    new: list[Scan] = []
    for scan in scans:
        try:
            case = by_signature.get(scan.signature()) if by_signature else None
        except ScanProblem as problem:
            result.skipped.append(
                SkippedScan(scan.identifier, "; ".join(scan.sources()), problem.reason, problem.problem)
            )
            continue
        if case is None:
            new.append(scan)
        else:
            result.kept.append(case.identifier)
    kept = set(result.kept)
    for scan in new:
        case = by_name.get(scan.identifier)
        if case is not None and (case.identifier in kept or case.sources != scan.sources()):
            own = hashlib.sha256(repr(scan.channels).encode("utf-8", "surrogateescape")).hexdigest()[:8]
            result.pending.append(replace(scan, identifier=f"{scan.identifier}-{own}"))
        else:
            result.pending.append(scan)
    result.pending.sort(key=lambda scan: scan.identifier)
    return result


def _file_sizes(folder: Path) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".b2nd")}
