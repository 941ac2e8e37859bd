"""The folder of one training: what is where, how far it got, and who is at it."""

from __future__ import annotations

import logging
import os
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from nnunet_genesis.file_locks import NO_LOCKS
from nnunet_genesis.files import write_json
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.nnunet_folders import FINAL_CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGGER = logging.getLogger("nnunet_genesis")
RUNS, LOCK = "runs", ".lock"
EVALUATION = "validation/summary.json"
"""Of nnU-Net, in the folder of a fold."""


class State(Enum):
    """How far a training got."""

    PENDING = "pending"
    RUNNING = "running"
    """Or killed so that nothing could be written; whether a process is at it, its lock tells."""
    INTERRUPTED = "interrupted"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True)
class RunFolder:
    """Files of one training.

    Attributes:
        folder: ``BENCHMARK/runs/RUN``.
    """

    folder: Path

    @property
    def record_file(self) -> Path:
        """How it was run."""
        return self.folder / "run.json"

    @property
    def log_file(self) -> Path:
        """All that nnU-Net wrote to the terminal, of all attempts."""
        return self.folder / "log.txt"

    @property
    def scores_file(self) -> Path:
        """Scores of the test cases; it is written last, and where it is, the training is finished."""
        return self.folder / "scores.csv"

    @property
    def epochs_file(self) -> Path:
        """What nnU-Net logged of every epoch."""
        return self.folder / "epochs.csv"

    @property
    def results(self) -> Path:
        """What ``nnUNet_results`` is for this training."""
        return self.folder / "nnUNet_results"

    def read(self) -> dict[str, Any]:
        """The record; empty where there is none, or half of one."""
        try:
            content = read_json(self.record_file)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, record: dict[str, Any]) -> None:
        """Keep the record."""
        write_json(record, self.record_file)

    def state(self) -> State:
        """How far it got, whatever process did it."""
        if self.scores_file.is_file():
            return State.FINISHED
        status = self.read().get("status")
        if status is None:
            return State.PENDING
        known = {state.value for state in State}
        # A record that says finished without scores is one whose scores were taken away, to be made again; one that
        # says something else was damaged.
        return State.INTERRUPTED if status == State.FINISHED.value or str(status) not in known else State(status)

    def checkpoints(self) -> list[Path]:
        """nnU-Net's checkpoints, of which there is one of a name at most."""
        return sorted(self.results.glob("*/*/fold_*/checkpoint_*.pth"))

    def set_damaged_aside(self) -> None:
        """Rename checkpoints that were cut off in writing, so that nnU-Net continues from a whole one.

        The evaluation of last weights goes with them: others are trained, and a process that is killed while it
        predicts with those must not leave the evaluation of before in its place.
        """
        for file in self.checkpoints():
            if zipfile.is_zipfile(file):  # torch writes the directory of its archive last
                continue
            LOGGER.warning("%s was cut off in writing and is not used; an earlier checkpoint is", file)
            evaluation = file.parent / EVALUATION
            if file.name == FINAL_CHECKPOINT and evaluation.is_file():
                evaluation.replace(evaluation.with_name(f"{evaluation.name}.earlier"))
            file.replace(file.with_name(f"{file.name}.damaged"))


@contextmanager
def try_lock(folder: Path) -> Iterator[int | None]:
    """Keep other processes from a training for as long as this one, or one that it hands the lock to, lives.

    A training goes on where the process that started it is killed; as long as it does, nobody may start it again.

    Args:
        folder: Of the training.

    Yields:
        None where another process has it; else the descriptor to hand to the training, or -1 where that cannot be done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LOCK
    if sys.platform == "win32":
        from filelock import FileLock, Timeout

        lock = FileLock(file, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield None
            return
        try:
            yield -1
        finally:
            lock.release()
        return
    import fcntl

    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            LOGGER.warning(
                "%s: this file system has no locks (%s): run one command at a time on it, or --job 1/2 and --job 2/2",
                folder,
                error,
            )
        yield descriptor
    finally:
        os.close(descriptor)  # a training that is still alive keeps the lock
