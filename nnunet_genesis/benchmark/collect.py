"""The tables of a whole benchmark, put together from those of its finished trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nnunet_genesis.benchmark.run_folder import RUNS, RunFolder, State
from nnunet_genesis.benchmark.runs import control_of
from nnunet_genesis.benchmark.scores import (
    SCRATCH,
    read_case_scores,
    read_epoch_scores,
    write_case_scores,
    write_epoch_scores,
)

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.runs import Run
    from nnunet_genesis.benchmark.scores import RunKey

RESULTS_FILE, EPOCHS_FILE = "results.csv", "epochs.csv"


@dataclass(frozen=True)
class RunReport:
    """How one training stands.

    Attributes:
        run: The training.
        state: How far it got.
        record: Its ``run.json``.
    """

    run: Run
    state: State
    record: dict[str, Any]

    @property
    def seconds(self) -> float:
        """Time of all attempts, in seconds; 0 where it is not known of one, because its starter was killed."""
        attempts = self.record.get("attempts", [])
        if any("seconds" not in attempt for attempt in attempts):
            return 0.0
        return float(sum(attempt["seconds"] for attempt in attempts))


def run_folder_of(folder: Path, run: Run) -> RunFolder:
    """Folder of a training."""
    return RunFolder(folder / RUNS / run.identifier)


def list_reports(folder: Path, record: Record) -> list[RunReport]:
    """How every training of a benchmark stands."""
    return [report_on(folder, run) for run in record.runs.values()]


def report_on(folder: Path, run: Run) -> RunReport:
    """How one training stands."""
    files = run_folder_of(folder, run)
    return RunReport(run, files.state(), files.read())


def keys_in_tables(record: Record) -> dict[RunKey, list[RunKey]]:
    """Under which keys the lines of every training stand in the tables.

    Schedules that differ only in ``full`` share one control; its lines are there under the name of each of them, so
    that every pretrained run has its control beside it.
    """
    twins: dict[str, set[str]] = {}
    for run in record.runs.values():
        if run.key.initialisation != SCRATCH:
            twins.setdefault(control_of(run.key.schedule), set()).add(run.key.schedule)
    keys = {}
    for run in record.runs.values():
        schedules = {run.key.schedule}
        if run.key.initialisation == SCRATCH:
            schedules = twins.get(run.key.schedule, schedules)
        keys[run.key] = [replace(run.key, schedule=schedule) for schedule in sorted(schedules)]
    return keys


def collect(folder: Path, record: Record) -> None:
    """Write ``results.csv`` and ``epochs.csv`` of all finished trainings, see `keys_in_tables`."""
    cases, epochs = [], []
    keys_of = keys_in_tables(record)
    for run in record.runs.values():
        files = run_folder_of(folder, run)
        if files.state() is not State.FINISHED:
            continue
        own_cases, own_epochs = read_case_scores(files.scores_file), read_epoch_scores(files.epochs_file)
        for key in keys_of[run.key]:
            cases += [replace(score, run=key) for score in own_cases]
            epochs += [replace(score, run=key) for score in own_epochs]
    write_case_scores(cases, folder / RESULTS_FILE)
    write_epoch_scores(epochs, folder / EPOCHS_FILE)
