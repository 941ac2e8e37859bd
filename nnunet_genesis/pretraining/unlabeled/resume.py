"""Which scans of a run are in the pool already, and under which name the others go into it."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.scans.finding import SkippedScan
from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnunet_genesis.pretraining.unlabeled.pool import PoolCase
    from nnunet_genesis.scans.scan import Scan


@dataclass(frozen=True)
class SortedScans:
    """What is to be done.

    Attributes:
        kept: Names of cases of the pool whose files were found again, untouched.
        pending: Scans to read, in the order of their names.
        skipped: Scans whose files vanished meanwhile, or are those of another scan that was kept.
    """

    kept: list[str] = field(default_factory=list)
    pending: list[Scan] = field(default_factory=list)
    skipped: list[SkippedScan] = field(default_factory=list)


def sort_scans(scans: Sequence[Scan], cases: Sequence[PoolCase]) -> SortedScans:
    """Compare what was found with what is in the pool.

    A scan is in the pool if a case was made of the same files, untouched since; it may have had another name then. The
    same files may be found several times, in a folder and in a table, for example: they are one case all the same. A
    scan whose files changed takes the place and the name of its case. A scan that only has the same name as a case
    made of other files (an earlier run on another folder) gets a name of its own.

    Args:
        scans: Scans that were found.
        cases: Cases of the pool whose images are there.
    """
    by_signature = {case.signature: case for case in cases}
    result = SortedScans()
    new: list[Scan] = []
    found: dict[str, list[Scan]] = {}
    for scan in scans:
        try:
            case = by_signature.get(scan.signature()) if by_signature else None
        except ScanProblem as problem:
            result.skipped.append(SkippedScan.of(problem, scan.identifier, "; ".join(scan.sources())))
            continue
        if case is None:
            new.append(scan)
        else:
            found.setdefault(case.identifier, []).append(scan)
    for name, scans_of_case in found.items():
        result.kept.append(name)
        result.skipped.extend(_repetitions(scans_of_case, name))
    by_name = {case.identifier: case for case in cases}
    changed = _by_sources(by_name[name] for name in by_name.keys() - set(result.kept))
    # Series of one folder may have sources that read alike: first those whose name says which case is theirs.
    for scan in sorted(new, key=lambda scan: scan.identifier not in changed.get(tuple(scan.sources()), [])):
        same_files = changed.get(tuple(scan.sources()), [])
        if scan.identifier in same_files:
            same_files.remove(scan.identifier)
            result.pending.append(scan)
        elif len(same_files) == 1:
            result.pending.append(replace(scan, identifier=same_files.pop()))
        elif scan.identifier in by_name:
            own = hashlib.sha256(repr(scan.channels).encode("utf-8", "surrogateescape")).hexdigest()[:8]
            result.pending.append(replace(scan, identifier=f"{scan.identifier}-{own}"))
        else:
            result.pending.append(scan)
    result.pending.sort(key=lambda scan: scan.identifier)
    return result


def _repetitions(scans: Sequence[Scan], case: str) -> list[SkippedScan]:
    """All but one of the scans that a case was made of, which is the one of its name if there is one."""
    problem = ScanProblem(Reason.DUPLICATE, f"the same files as case {case} of this pool")
    _, *others = sorted(scans, key=lambda scan: scan.identifier != case)
    return [SkippedScan.of(problem, scan.identifier, "; ".join(scan.sources())) for scan in others]


def spoilt_cases(cases: Iterable[PoolCase], skipped: Sequence[SkippedScan]) -> list[tuple[PoolCase, SkippedScan]]:
    """Cases whose source files are all there, but were found to be no usable scan any more.

    What could not be looked at says nothing: a file server may have been away for a moment.
    """
    known = [bad for bad in skipped if not bad.is_passing]
    by_source: dict[Path, list[SkippedScan]] = {}
    for bad in known:
        for source in bad.source.split("; "):
            by_source.setdefault(_path(source), []).append(bad)
    spoilt = []
    for case in cases:
        path = _path(case.sources[0])
        # Of a folder with several series, others may be meant.
        meant = [bad for bad in by_source.get(path, ()) if bad.identifier == case.identifier or _is_file(path)]
        if meant and _is_there(case):
            spoilt.append((case, meant[0]))
    return spoilt


def is_source_gone(case: PoolCase) -> bool:
    """Whether a file or folder that a case was made of is known to be not there any more."""
    return any(_mode(_path(source)) == 0 for source in case.sources)


def _is_there(case: PoolCase) -> bool:
    return all(_mode(_path(source)) for source in case.sources)


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(_mode(path) or 0)


def _mode(path: Path) -> int | None:
    """Kind of a file or folder as `stat` has it, 0 where there is none, None where the system cannot tell."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # no name that a file can have
        return 0
    except OSError:
        return None


def _by_sources(cases: Iterable[PoolCase]) -> dict[tuple[str, ...], list[str]]:
    names: dict[tuple[str, ...], list[str]] = {}
    for case in cases:
        names.setdefault(tuple(case.sources), []).append(case.identifier)
    return names


def _path(source: str) -> Path:
    """File or folder of a line of `Scan.sources`, without the number of slices."""
    path, separator, rest = source.rpartition(" (")
    return Path(path if separator and rest.endswith(" slices)") else source)
