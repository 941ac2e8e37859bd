"""Run what is to be run, one training after the other; what is finished stays, and a failure stops no other."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.benchmark.collect import report_on, run_folder_of
from nnunet_genesis.benchmark.command import training_command
from nnunet_genesis.benchmark.progress import Progress, describe_time
from nnunet_genesis.benchmark.record import read_record
from nnunet_genesis.benchmark.run_folder import State, try_lock
from nnunet_genesis.benchmark.scoring import is_predicted, remove_checkpoints, score_run
from nnunet_genesis.benchmark.training import TrainingError, fail, now, train
from nnunet_genesis.benchmark.workspace import preprocessed_folder
from nnunet_genesis.checkpoint import sha256_of_file
from nnunet_genesis.errors import DataError, GenesisError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.run_folder import RunFolder
    from nnunet_genesis.benchmark.runs import Run
    from nnunet_genesis.plans import PlannedConfiguration

KEEP_CHECKPOINTS = {"final": "the last weights of every training", "no": "none once a training is scored"}


@dataclass(frozen=True)
class ExecutionOptions:
    """How to run.

    Attributes:
        retry_failed: Whether to run again what failed before.
        keep_checkpoints: Key of `KEEP_CHECKPOINTS`.
    """

    retry_failed: bool = False
    keep_checkpoints: str = "final"


@dataclass
class Outcome:
    """What became of the runs of one process, by identifier.

    Attributes:
        finished: Trained and scored now.
        failed: Failed now.
        skipped: Failed before and not tried again.
        busy: Another process is at them.
    """

    finished: list[str]
    failed: list[str]
    skipped: list[str]
    busy: list[str]


def execute(
    runs: Sequence[Run], record: Record, folder: Path, planned: PlannedConfiguration, options: ExecutionOptions
) -> Outcome:
    """Train and score what is not finished.

    Args:
        runs: In the order of running.
        record: Of the benchmark.
        folder: Of the benchmark.
        planned: The dataset.
        options: How to run.

    Raises:
        KeyboardInterrupt: If this process is interrupted, also by SIGTERM or a closed terminal; the command continues
            when it is run again.
    """
    outcome = Outcome([], [], [], [])
    pending = []
    for run in runs:
        state = run_folder_of(folder, run).state()
        if state is State.FAILED and not options.retry_failed:
            outcome.skipped.append(run.identifier)
        elif state is not State.FINISHED:
            pending.append(run)
    progress = Progress(len(pending), record.settings.epochs)
    try:
        with terminated_as_interrupted():
            for run in pending:
                progress.begin(run.identifier)
                _execute_one(run, record, folder, planned, options, outcome=outcome, progress=progress)
                progress.end()
    finally:
        progress.close()
    return outcome


def _execute_one(
    run: Run,
    record: Record,
    folder: Path,
    planned: PlannedConfiguration,
    options: ExecutionOptions,
    *,
    outcome: Outcome,
    progress: Progress,
) -> None:
    files = run_folder_of(folder, run)
    with try_lock(files.folder) as lock:
        if lock is None:
            outcome.busy.append(run.identifier)
            return
        state = files.state()  # another process may have been at it since the runs were listed
        if state is State.FINISHED or (state is State.FAILED and not options.retry_failed):
            return
        if _is_forgotten(run, folder):
            progress.say(f"forgotten by --forget-pending, and not run: {run.identifier}")
            return
        files.write({**asdict(run.key), "fold": run.fold, "trainer": run.trainer, **files.read()})
        files.set_damaged_aside()  # first: an evaluation may outlive the weights that it is of
        try:
            if not is_predicted(run, record, files):
                if not files.checkpoints():  # a training that goes on reads its own checkpoint
                    _check_file(run, record, files)
                train(
                    training_command(run, record, preprocessed_folder(folder, planned.dataset_folder), files),
                    files,
                    user_results=planned.results_folder,
                    lock=lock,
                    tick=progress.tick,
                )
            told = _score(run, record, files, planned)
        except TrainingError as error:
            outcome.failed.append(run.identifier)
            progress.say(f"FAILED  {run.identifier}: {error}; the others go on. Its log: {files.log_file}")
            return
        remove_checkpoints(files, options.keep_checkpoints)
        outcome.finished.append(run.identifier)
        report = report_on(folder, run)
        progress.say(f"done    {run.identifier}: mean Dice {told['mean_dice']}, {describe_time(report.seconds)}")


def _is_forgotten(run: Run, folder: Path) -> bool:
    """Whether another command took a training back since this one planned it."""
    try:
        current = read_record(folder)
    except DataError:  # trainings do not need it; whoever writes the report is told
        return False
    return current is not None and run.identifier not in current.runs


def _score(run: Run, record: Record, files: RunFolder, planned: PlannedConfiguration) -> dict[str, Any]:
    told: dict[str, Any] = {}
    try:
        told = score_run(run, record, files, planned.dataset_folder)
    except GenesisError as error:
        fail(files, error.problem, [str(error)])
    except Exception as error:
        fail(files, f"the scores could not be made: {type(error).__name__}: {error}", [repr(error)])
    kept = {name: value for name, value in files.read().items() if name not in ("problem", "last_lines")}
    files.write({**kept, "status": State.FINISHED.value, "finished": now(), **told})
    return told


def _check_file(run: Run, record: Record, files: RunFolder) -> None:
    """Make sure that all runs of an initialisation start from the same bytes."""
    told = record.initialisations.get(run.key.initialisation)
    if told is None:
        return
    file = Path(told["file"])
    if not file.is_file():
        fail(files, f"the pretrained file is gone: {file}", [])
    if sha256_of_file(file) != told["sha256"]:
        fail(
            files,
            f"the pretrained file is not the one that was planned: {file} has changed"
            f" (its SHA-256 was {told['sha256'][:12]}...)",
            [],
        )


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which clusters send, and a terminal that closes stop a training as Ctrl-C does.

    A training has a session of its own and would outlive this process unseen. What is ignored, as ``nohup`` does, stays
    so.
    """

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [
        getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
    ]  # Windows has no SIGHUP
    taken = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, interrupt) for number in taken}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
