"""A run's record that may fail to be written: a full disk costs pictures and lines of a log, never the training."""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LOGGER = logging.getLogger("nnunet_genesis")


class BestEffort:
    """Tells once that something cannot be written, and once that it can be again."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Let the system's errors pass."""
        try:
            yield
        except OSError as error:
            if what not in self._failing:
                self._failing.add(what)
                LOGGER.warning("%s cannot be written (%s); training goes on without it", what, error.strerror or error)
        else:
            if what in self._failing:
                self._failing.discard(what)
                LOGGER.warning("%s is written again", what)


class TensorBoardFile:
    """TensorBoard's record of finished epochs; what could not be written is written when it can be.

    Args:
        folder: Where its files go, inside a folder that exists.
        first_step: Step that the run goes on from, 0 for a new one: what another process, or a run that this one
            replaces, recorded after it is hidden.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder = folder
        self._purge: int | None = first_step + 1
        self._writer: SummaryWriter | None = None
        self._recorded: int | None = None
        """Epochs that are on the disk for certain."""
        self._previous_hook = threading.excepthook
        threading.excepthook = self._hide_full_disk

    def record(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Add the epochs that are not on the disk yet; of those of an earlier process it knows that they are.

        Raises:
            OSError: If they cannot be written.
        """
        if self._recorded is None:
            self._recorded = len(history) - 1
        try:
            if self._writer is None:
                (self.folder).mkdir(exist_ok=True)  # not its parents: a mount that is away must not be replaced
                self._writer = SummaryWriter(str(self.folder), purge_step=self._purge)
            for entry in history[self._recorded :]:
                for name in entry.keys() - {"epoch", "step"}:
                    self._writer.add_scalar(name, entry[name], entry["step"])
            self._writer.flush()
        except OSError:
            self._drop()
            raise
        self._recorded, self._purge = len(history), None

    def close(self) -> None:
        """End the file."""
        self._drop()
        threading.excepthook = self._previous_hook

    def _drop(self) -> None:
        """Give up a writer: its thread has ended, or may end now."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
        self._writer = None

    def _hide_full_disk(self, arguments: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread hands its error on and lets it escape, too, as a traceback on the screen."""
        is_tensorboards = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (is_tensorboards and isinstance(arguments.exc_value, OSError)):
            self._previous_hook(arguments)


class LogFile(logging.Handler):
    """Appends every record to a file, which is opened for it alone: nothing waits in memory for a disk to return."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self._lost = file, 0
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Append; where that fails, say so on the screen once."""
        missing = f"({self._lost} earlier line(s) could not be written)\n" if self._lost else ""
        try:
            with self.file.open("a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(f"{missing}{self.format(record)}\n")
        except OSError as error:
            if not self._lost:
                tqdm.write(f"the log {self.file} cannot be written: {error.strerror or error}", file=sys.stderr)
            self._lost += 1
        else:
            self._lost = 0
