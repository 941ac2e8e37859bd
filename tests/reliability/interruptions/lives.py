"""Pretrainings in processes of their own that start cheaply: each is forked from one that has imported everything."""

from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import signal
import struct
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis import checkpoint, cli
from nnunet_genesis.pretraining.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerProcess
    from types import FrameType

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [__name__, "nnunet_genesis.pretraining.run", "nnunetv2.training.dataloading.nnunet_dataset"]
)


@dataclass(frozen=True)
class Blow:
    """A signal that a life sends to itself while it writes a checkpoint.

    Attributes:
        sent: The signal.
        writing: Number of the writing in this life, from 1.
        call: Number of the function call inside it, from 1, builtins included.
    """

    sent: signal.Signals
    writing: int
    call: int


@dataclass
class Life:
    """One process that runs ``genesis-pretrain-nnunet``.

    Args:
        arguments: Of the command.
        environment: Variables to set.
        folder: Where it notes its steps, and what it prints.
        blows: Signals to itself.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    blows: tuple[Blow, ...] = ()
    process: ForkServerProcess = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "steps").write_bytes(bytes(16))
        self.process = CONTEXT.Process(target=_live, args=(self.arguments, self.environment, self.folder, self.blows))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def steps(self) -> tuple[int, int]:
        """The first and the last step that this life has taken; zeros before the first."""
        first, last = struct.unpack("qq", (self.folder / "steps").read_bytes())
        return first, last

    @property
    def printed(self) -> str:
        return (self.folder / "printed").read_text()

    @property
    def calls_per_writing(self) -> list[int]:
        """Function calls of each checkpoint that was written, in a life that ended by itself."""
        calls: list[int] = json.loads((self.folder / "calls").read_text())
        return calls

    def wait_for_step(self, step: int, timeout: float = 600) -> None:
        for _ in range(round(timeout / 0.005)):
            if self.steps[1] >= step:
                return
            assert self.process.exitcode is None, f"ended with {self.process.exitcode}:\n{self.printed}"
            self.process.join(0.005)
        raise AssertionError(f"no step {step} within {timeout} s:\n{self.printed}")

    def join(self, timeout: float = 600) -> int:
        """Wait for the end; returns the exit code, negative for a signal."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running:\n{self.printed}"
        return self.process.exitcode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@dataclass
class _WatchedWritings:
    """Counts the calls while checkpoints are written, and sends the signals that are due."""

    blows: tuple[Blow, ...]
    calls: list[int] = field(default_factory=list)

    def on_audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "tempfile.mkstemp" and Path(arguments[0]).name.startswith(".checkpoint_"):
            self.calls.append(0)
            sys.setprofile(self.on_call)

    def on_call(self, frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is checkpoint.write.__code__:
            sys.setprofile(None)
        elif event in ("call", "c_call"):
            self.calls[-1] += 1
            for blow in self.blows:
                if (blow.writing, blow.call) == (len(self.calls), self.calls[-1]):
                    os.kill(os.getpid(), blow.sent)


def _live(arguments: tuple[str, ...], environment: dict[str, str], folder: Path, blows: tuple[Blow, ...]) -> None:
    # Loader processes are started as they are where the command is typed, not by the server of this process.
    multiprocessing.set_start_method(None, force=True)
    os.environ.update(environment)
    output = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    writings = _WatchedWritings(blows)
    sys.addaudithook(writings.on_audit)
    with (folder / "steps").open("r+b") as stream, mmap.mmap(stream.fileno(), 16) as noted, _noting_steps(noted):
        try:
            cli.pretrain(arguments)
        finally:
            (folder / "calls").write_text(json.dumps(writings.calls))


@contextmanager
def _noting_steps(noted: mmap.mmap) -> Iterator[None]:
    """Let every step be seen from outside, also after a kill."""
    show = Monitor.step

    def note(self: Monitor, step: int, loss: float | None) -> None:
        noted[8:] = struct.pack("q", step)
        if noted[:8] == bytes(8):
            noted[:8] = struct.pack("q", step)
        show(self, step, loss)

    Monitor.step = note  # type: ignore[method-assign]
    yield
