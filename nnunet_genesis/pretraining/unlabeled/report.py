"""What a person reads after a pool was built: a table of what was left out, and a summary."""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.errors import DataError, printable
from nnunet_genesis.pretraining.unlabeled.pool import PARTIAL_FOLDER
from nnunet_genesis.scans.problems import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.unlabeled.pool import PoolCase
    from nnunet_genesis.scans.finding import SkippedScan

REPORT_FILE = "report.csv"
HARMLESS = (Reason.DUPLICATE, Reason.EXCLUDED)
"""Reasons that are no fault of a scan."""
_COLUMNS = ("identifier", "source", "reason", "detail", "mend")
_MAX_LISTED = 20


@dataclass(frozen=True)
class BuildOutcome:
    """A pool after a run.

    Attributes:
        planned: The plans.
        folder: The pool's folder.
        cases: All cases of the pool.
        kept: Names of those that this run found in it.
        added: Names of those that this run made.
        skipped: Scans that were left out in this run, sorted by name.
        notes: What was left out on purpose.
        other_files: Number of files that are no images.
        seconds: What the run took.
        removed: Cases that were taken out of the pool, with what is wrong with their source files now.
        vanished: Names of cases whose images had vanished or were damaged.
        sourceless: Names of cases whose source files are not there any more.
        flags_of_use: As of `BuildOptions`.
    """

    planned: PlannedConfiguration
    folder: Path
    cases: Sequence[PoolCase]
    kept: Sequence[str]
    added: Sequence[str]
    skipped: Sequence[SkippedScan]
    notes: Sequence[str]
    other_files: int
    seconds: float
    removed: Sequence[SkippedScan] = ()
    vanished: Sequence[str] = ()
    sourceless: Sequence[str] = ()
    flags_of_use: Sequence[str] = ()

    @property
    def broken(self) -> list[SkippedScan]:
        """Skipped scans that something is wrong with."""
        return [skipped for skipped in self.skipped if skipped.reason not in HARMLESS]

    def count_reasons(self) -> list[tuple[str, int]]:
        """Number of skipped scans by reason, the most frequent first."""
        counts = Counter(skipped.reason.value for skipped in self.skipped)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def write_report(folder: Path, skipped: Sequence[SkippedScan]) -> Path:
    """Write ``report.csv`` anew: one line per scan that was left out."""
    part = folder / PARTIAL_FOLDER / REPORT_FILE
    # File names need not be valid UTF-8; surrogateescape writes the very bytes back.
    with part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for scan in sorted(skipped, key=lambda scan: scan.identifier):
            writer.writerow([scan.identifier, scan.source, scan.reason.value, scan.detail, scan.mend])
    return part.replace(folder / REPORT_FILE)


def describe_outcome(outcome: BuildOutcome) -> list[str]:
    """Sum up a run in lines of text."""
    planned, name = outcome.planned, outcome.folder.name
    size = sum(case.bytes for case in outcome.cases) / 1e6
    earlier = len(outcome.cases) - len(outcome.added) - len(outcome.kept)
    parts = [f"{len(outcome.added)} new", f"{len(outcome.kept)} done before"]
    parts += [f"{earlier} of other runs"] if earlier else []
    lines = [f"pool {name}: {_count(len(outcome.cases))} ({', '.join(parts)}), {size:.0f} MB, {outcome.seconds:.0f} s"]
    if outcome.skipped:
        lines.append(f"skipped: {_count(len(outcome.skipped))}")
        for reason, count in outcome.count_reasons():
            first = next(skipped for skipped in outcome.skipped if skipped.reason.value == reason)
            mend = f"; to mend it: {first.mend}" if first.mend else ""
            lines.append(f"  {count:>6}  {reason}; e.g. {first.identifier}: {first.detail}{mend}")
        lines.append(f"  all of them: {outcome.folder / REPORT_FILE}")
    lines += _describe_changes(outcome)
    if outcome.other_files:
        lines.append(f"files that are no images: {outcome.other_files}")
    lines += [f"note: {note}" for note in outcome.notes]
    lines += _note_empty_channels(outcome)
    lines.append("note: scans keep the orientation that they are stored in, as nnU-Net's labelled cases do")
    lines.append(f"folder: {outcome.folder}")
    if outcome.cases:
        lines.append(f"picture: {outcome.folder / 'pool.png'}")
        lines.append(
            f"use it: genesis-pretrain-nnunet {planned.dataset_name} -c {planned.configuration} -p {planned.plans_name}"
            f" --pools {shlex.join([name, *outcome.flags_of_use])}"
        )
    return [printable(line) for line in lines]


def check_outcome(outcome: BuildOutcome, *, strict: bool) -> None:
    """Make an error of a run that left nothing, or, where `strict`, of any scan that something is wrong with.

    Raises:
        DataError: Saying which scans.
    """
    report = outcome.folder / REPORT_FILE
    if strict and outcome.broken:
        listed = [
            printable(f"    {bad.identifier}: {bad.reason.value}: {bad.detail}") for bad in outcome.broken[:_MAX_LISTED]
        ]
        more = len(outcome.broken) - len(listed)
        listed += [f"    and {more} more"] if more > 0 else []
        raise DataError(
            f"--strict: {_count(len(outcome.broken))} cannot be used:\n" + "\n".join(listed),
            where=report,
            mend="mend or remove these scans and run the same command again; the others are done",
        )
    if not outcome.cases:
        why = ", ".join(f"{count} {reason}" for reason, count in outcome.count_reasons()) or "no scan was found"
        raise DataError(
            f"pool {outcome.folder.name} is empty: {why}", where=report, mend="look into the report, and at -i"
        )


def _describe_changes(outcome: BuildOutcome) -> list[str]:
    lines = []
    if outcome.removed:
        first = outcome.removed[0]
        lines.append(
            f"removed from the pool: {_count(len(outcome.removed))} whose files are no usable scan any more;"
            f" e.g. {first.identifier}: {first.reason}: {first.detail}"
        )
    if outcome.vanished:
        again = len(set(outcome.vanished).intersection(outcome.added))
        lines.append(
            f"images that had vanished or were damaged: {len(outcome.vanished)}, e.g. {outcome.vanished[0]};"
            f" made again under the same name: {again}"
        )
    if outcome.sourceless:
        lines.append(
            f"cases whose source files are gone: {len(outcome.sourceless)}, e.g. {outcome.sourceless[0]};"
            " they stay in the pool"
        )
    return lines


def _note_empty_channels(outcome: BuildOutcome) -> list[str]:
    empty = [
        (case.identifier, number)
        for case in outcome.cases
        for number, told in enumerate(case.statistics)
        if told["raw"]["min"] == told["raw"]["max"] or told["preprocessed"]["min"] == told["preprocessed"]["max"]
    ]
    if not empty:
        return []
    (first, number), scans = empty[0], len({identifier for identifier, _ in empty})
    return [
        f"note: {_count(scans)} with a channel that holds nothing, e.g. {first}: channel {number}; it is learned from"
    ]


def _count(number: int) -> str:
    return f"{number:,} scan" + ("" if number == 1 else "s")
