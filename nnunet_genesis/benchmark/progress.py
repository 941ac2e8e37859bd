"""How long a benchmark will take, by what its finished trainings took, and a bar that shows it."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.trainers.schedules import DEFAULT_EPOCHS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.benchmark.collect import RunReport

_SECONDS_IN_FILES = 60.0
_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed} elapsed, about {remaining} left{postfix}"


def expected_seconds(reports: Sequence[RunReport]) -> float | None:
    """Median time of the finished trainings; None where there is none yet.

    All trainings of a benchmark have as many epochs and iterations, so that one takes about as long as another.
    """
    seconds = [report.seconds for report in reports if report.state is State.FINISHED and report.seconds]
    return statistics.median(seconds) if seconds else None


def describe_duration(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def describe_time(seconds: float) -> str:
    """The time of a training; that of one whose starter was killed was not measured."""
    return describe_duration(seconds) if seconds else "time unknown"


class Progress:
    """A bar over all epochs that a process is going to train.

    Args:
        num_runs: Trainings.
        epochs: Of each; None for nnU-Net's own number.
    """

    def __init__(self, num_runs: int, epochs: int | None) -> None:
        self._epochs, self._done, self._num_runs, self._number = epochs or DEFAULT_EPOCHS, 0, num_runs, 0
        self._bar = tqdm(
            total=max(1, num_runs * self._epochs),
            bar_format=_BAR,
            smoothing=0,  # the test cases are predicted between two trainings
            mininterval=0.5 if sys.stderr.isatty() else _SECONDS_IN_FILES,
            file=sys.stderr,
        )

    def begin(self, name: str) -> None:
        """Say which training begins."""
        self._number += 1
        self._bar.set_description_str(f"run {self._number}/{self._num_runs} {name}")

    def tick(self, epochs: int) -> None:
        """Move to a number of epochs of this training."""
        self._move(self._done + min(epochs, self._epochs))

    def end(self) -> None:
        """The training is over, however it ended."""
        self._done += self._epochs
        self._move(self._done)

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """End the bar's line."""
        self._bar.close()

    def _move(self, to: int) -> None:
        self._bar.update(to - self._bar.n)
