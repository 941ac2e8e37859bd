"""Signals end a run between two steps, saved, and with a code that tells a scheduler's signal from a person's."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from typing_extensions import Self

EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C (128 + SIGINT, the shells' rule): a person decides whether to go on."""
EXIT_REQUEUE = 75
"""Ended by a scheduler's signal: run again with ``--c`` (EX_TEMPFAIL of sysexits.h: a temporary failure, try again)."""
SCHEDULER_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGHUP")
    if hasattr(signal, name)  # Windows has few of them
)
"""Sent before a job is ended: by SLURM, PBS, Grid Engine, LSF, HTCondor and submitit, or by a terminal that closes."""
SECONDS_OF_ONE_INTERRUPT = 2
"""Launchers hand on a Ctrl-C that the terminal has sent to all processes already: two within this time are one."""


class StoppedEarly(KeyboardInterrupt):
    """A signal came while there was nothing to save yet."""


class StopRequest:
    """Context in which signals ask for the end of a run.

    Before `defer` is called there is nothing to save, and a signal raises `StoppedEarly` at once. After it, the first
    signal sets `requested`, which the training loop looks at between two steps. A scheduler's further signals change
    nothing: what it sends to a group, a launcher hands on once more. A second Ctrl-C raises KeyboardInterrupt, but not
    while a checkpoint is written.

    One process of several must not leave while others wait for it: where a launcher started this one, signals are
    deferred from the beginning. Forked processes have the signals' usual effects.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._deferred = "LOCAL_RANK" in os.environ
        self._saving = False
        self._process = os.getpid()
        self._interrupted_at: float | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What the command of a stopped run ends with; a signal that only another process got was a scheduler's."""
        return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_REQUEUE

    def __enter__(self) -> Self:
        """Take over the signals; SIGHUP stays without effect where ``nohup`` made it so."""
        taken = [signal.SIGINT, *SCHEDULER_SIGNALS]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            taken.remove(signal.SIGHUP)
        self._previous = {number: signal.signal(number, self._handle) for number in taken}
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def defer(self) -> None:
        """From now on the run is ended by who looks at `requested`."""
        self._deferred = True

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Context in which nothing but a kill ends the process."""
        self._saving = True
        try:
            yield
        finally:
            self._saving = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT:
            now = time.monotonic()
            if self._interrupted_at is None:
                self._interrupted_at = now
            elif now - self._interrupted_at >= SECONDS_OF_ONE_INTERRUPT and not self._saving:
                raise KeyboardInterrupt
        if not self.requested:
            self.signal = signal.Signals(number)
            if not self._deferred:
                raise StoppedEarly


def leave_signals_to_main_process() -> None:
    """For processes that help a run: its main process ends them itself, after it has saved."""
    for number in (signal.SIGINT, *SCHEDULER_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
