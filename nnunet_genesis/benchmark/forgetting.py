"""Trainings that were planned by mistake, taken back before they begin."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.collect import run_folder_of
from nnunet_genesis.benchmark.record import locked, read_record, write_record
from nnunet_genesis.benchmark.run_folder import LOCK, State, try_lock
from nnunet_genesis.benchmark.runs import control_of
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.run_folder import RunFolder


@dataclass
class Forgotten:
    """What became of the trainings that have not finished.

    Attributes:
        record: Of the benchmark, without those that are forgotten.
        runs: Identifiers of these, in the order in which they were planned.
        initialisations: Names that no training is left of.
        kept: Identifiers of the others to why they are kept.
    """

    record: Record
    runs: list[str] = field(default_factory=list)
    initialisations: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def forget_pending(folder: Path, command: str) -> Forgotten:
    """Take trainings that have not begun out of the record, and what was asked for with them alone.

    Processes that have planned them already look into the record before each training, and leave them out, too.

    Args:
        folder: Of the benchmark.
        command: The command line, for the record.

    Raises:
        SetupError: If there is no benchmark.
    """
    with locked(folder):
        record = read_record(folder)
        if record is None:
            raise SetupError("there is no benchmark here", where=folder, mend="name its folder with --output")
        told = Forgotten(record)
        planned = dict(record.runs)
        for identifier, run in planned.items():
            reason = _reason_to_keep(run_folder_of(folder, run))
            if reason is None:
                told.runs.append(identifier)
            elif reason != State.FINISHED.value:
                told.kept[identifier] = reason
        if not told.runs:
            return told
        record.runs = {name: run for name, run in planned.items() if name not in told.runs}
        write_record(record, folder)
        # Until it was written, another process may have begun one by the record of before.
        begun = {name: _reason_to_keep(run_folder_of(folder, planned[name])) for name in told.runs}
        told.kept |= {name: reason for name, reason in begun.items() if reason is not None}
        told.runs = [name for name in told.runs if name not in told.kept]
        record.runs = {name: run for name, run in planned.items() if name not in told.runs}
        told.initialisations = _forget_values(record)
        record.note_invocation(command, forgotten=told.runs)
        write_record(record, folder)
    return told


def _reason_to_keep(files: RunFolder) -> str | None:
    """Why a training stays; None where it has not begun."""
    state = files.state()
    if state is not State.PENDING:
        return str(state.value)
    if not files.folder.is_dir():
        return None
    with try_lock(files.folder) as lock:
        if lock is None:
            return "another process is at it"
    left = sorted(entry.name for entry in files.folder.iterdir() if entry.name != LOCK)
    return f"its folder holds {', '.join(left)}" if left else None


def _forget_values(record: Record) -> list[str]:
    """Drop what is crossed with new values although no training has it any more; returns names of pretrainings.

    Subsets stay, as their folds never change their numbers; nobody asks for them any more.
    """
    keys = [run.key for run in record.runs.values()]
    schedules, folds = {key.schedule for key in keys}, {run.fold for run in record.runs.values()}
    record.subsets = [subset if subset.fold in folds else replace(subset, asked=()) for subset in record.subsets]
    names = {key.initialisation for key in keys}
    gone = [name for name in record.initialisations if name not in names]
    for name in gone:
        del record.initialisations[name]
    # Where scratch alone is left, a schedule that loads the decoder stands for its control.
    record.schedules = [
        schedule
        for schedule in record.schedules
        if schedule in schedules or (not record.initialisations and control_of(schedule) in schedules)
    ]
    record.same_control = {mine: control for mine, control in record.same_control.items() if mine in schedules}
    return gone
