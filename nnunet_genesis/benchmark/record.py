"""The file ``benchmark.json``: what a benchmark is, and all that was planned for it so far."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nnunet_genesis.benchmark.runs import Run, Subset
from nnunet_genesis.benchmark.scores import RunKey
from nnunet_genesis.benchmark.settings import BenchmarkSettings
from nnunet_genesis.benchmark.training import now
from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.file_locks import locked_file
from nnunet_genesis.files import write_json
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.plans_checks import is_plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

RECORD_FILE, LOCK_FILE, REPORT_LOCK_FILE = "benchmark.json", ".lock", ".report.lock"
FORMAT_VERSION = 1
LOCK_SECONDS, REPORT_LOCK_SECONDS = 300.0, 6 * 3600.0


@dataclass
class Record:
    """What ``benchmark.json`` holds.

    Attributes:
        settings: What all runs share.
        labels: Name of every class to its values in a segmentation.
        subsets: Labelled cases; their folds never change their numbers.
        initialisations: By name: file, SHA-256 and what the file says of itself; ``earlier``, where it is there, lists
            files that took the same place before (benchmarks/restore_benchmark.py).
        runs: By identifier, in the order in which they were planned.
        same_control: Schedules to the one that their control is trained by, where it is another.
        provenance: Where the data are, and by which commands the benchmark was begun and continued.
        schedules: All that were asked for; those of the controls may be others, see `same_control`.
    """

    settings: BenchmarkSettings
    labels: dict[str, list[int]]
    subsets: list[Subset] = field(default_factory=list)
    initialisations: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    same_control: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    schedules: list[str] = field(default_factory=list)

    @property
    def asked_subsets(self) -> list[Subset]:
        """Those that somebody still asks for: a subset keeps its place among the folds when its runs are forgotten."""
        return [subset for subset in self.subsets if subset.asked]

    def note_invocation(self, command: str, **outcome: Any) -> None:
        """Keep a command that changed the benchmark, and what came of it."""
        entry = {"when": now(), "command": command, "host": platform.node(), **outcome}
        self.provenance.setdefault("invocations", []).append(entry)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "settings": self.settings.as_dict(),
            "labels": self.labels,
            "subsets": [asdict(subset) for subset in self.subsets],
            "initialisations": self.initialisations,
            "runs": {
                identifier: {**asdict(run.key), "fold": run.fold, "trainer": run.trainer}
                for identifier, run in self.runs.items()
            },
            "schedules": self.schedules,
            "same_control": self.same_control,
            "provenance": self.provenance,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], file: Path) -> Record:
        """Read what `as_dict` gave.

        Raises:
            DataError: If it is of another version.
        """
        if values.get("format_version") != FORMAT_VERSION:
            raise DataError(
                f"format version {values.get('format_version')!r} is unknown, this version reads {FORMAT_VERSION}",
                where=file,
                mend="use the version of nnunet-genesis that wrote it, or begin another benchmark with --name",
            )
        runs = {}
        for identifier, told in values["runs"].items():
            key = RunKey(told["initialisation"], told["labelled"], told["schedule"], told["seed"])
            runs[identifier] = Run(key, int(told["fold"]), str(told["trainer"]))
            # The identifier names the folder of the run.
            if runs[identifier].identifier != identifier or not is_plain_name(identifier):
                raise ValueError(f"{identifier!r:.100} is no name of a run")
        return cls(
            settings=BenchmarkSettings.from_dict(values["settings"], file),
            labels={name: [int(value) for value in told] for name, told in values["labels"].items()},
            subsets=[
                Subset(
                    fold=int(told["fold"]),
                    labelled=int(told["labelled"]),
                    draw=int(told["draw"]),
                    asked=tuple(map(str, told["asked"])),
                    cases=tuple(map(str, told["cases"])),
                )
                for told in values["subsets"]
            ],
            initialisations={name: dict(told) for name, told in values["initialisations"].items()},
            runs=runs,
            schedules=[str(schedule) for schedule in values.get("schedules", ())],
            same_control=dict(values["same_control"]),
            provenance=dict(values["provenance"]),
        )


def read_record(folder: Path) -> Record | None:
    """The record of a benchmark's folder; None where none was begun.

    Raises:
        DataError: If it cannot be read.
    """
    file = folder / RECORD_FILE
    if not file.is_file():
        return None
    try:
        return Record.from_dict(read_json(file), file)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataError(
            f"the record of the benchmark cannot be read ({type(error).__name__}: {error})",
            where=file,
            mend="put a whole copy of it back, or begin another benchmark with --name",
        ) from error


def write_record(record: Record, folder: Path) -> None:
    """Write the record, whole or not at all."""
    write_json(record.as_dict(), folder / RECORD_FILE)


def locked(folder: Path) -> AbstractContextManager[None]:
    """Keep other processes from changing what all runs of a benchmark share; made where it does not exist.

    Where the file system has no locks, nothing keeps them from it, and a warning says so.

    Raises:
        SetupError: If another process keeps it for minutes.
    """
    return _held(folder, LOCK_FILE, LOCK_SECONDS, "changing this benchmark")


def locked_report(folder: Path) -> AbstractContextManager[None]:
    """Keep other processes from writing the tables and the report of a benchmark, as `locked` does.

    With many classes and runs they take minutes, and many jobs may end at once: nobody who plans waits for them, and
    who writes them waits for hours.

    Raises:
        SetupError: If other processes keep it for longer.
    """
    return _held(folder, REPORT_LOCK_FILE, REPORT_LOCK_SECONDS, "writing the report of this benchmark")


def _held(folder: Path, name: str, seconds: float, purpose: str) -> AbstractContextManager[None]:
    refusal = SetupError(
        f"another process has been {purpose} for {seconds / 60:.0f} minutes",
        where=folder / name,
        mend="wait for it to end and run the command again",
    )
    without = "begin no two commands at once on it"
    return locked_file(folder / name, refusal, without, seconds=seconds, waits_for=f"another process that is {purpose}")
