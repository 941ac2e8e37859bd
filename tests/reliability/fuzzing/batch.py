"""Give one reader many files, in forked processes that may die or hang."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.errors import GenesisError
from tests.reliability.fuzzing.guard import Guard, forget_peak, is_asleep, limit_memory, peak, seconds_used

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.reliability.fuzzing.reader import Reader

SECONDS_PER_FILE = 20.0
"""Of work, or of sleep."""
MEMORY_PER_FILE = 1 << 30
REFUSED, ACCEPTED, CRASHED, HUNG = "refused", "accepted", "crashed", "hung"


@dataclass(frozen=True)
class Result:
    """What became of one file.

    Attributes:
        number: Of the file.
        outcome: `REFUSED` with a `GenesisError` that says where and how to mend it, `ACCEPTED`, `CRASHED` (the process
            died), `HUNG`, or what is wrong.
        seconds: Of work that reading took.
        memory: Most bytes that reading took.
    """

    number: int
    outcome: str
    seconds: float = 0.0
    memory: int = 0


@dataclass(frozen=True)
class Inputs:
    """Good files of a reader.

    Attributes:
        folder: Everything that the reader needs.
        files: Those that are mutated.
        contents: What they hold.
        traps: Contents made by hand.
    """

    folder: Path
    files: tuple[Path, ...]
    contents: tuple[bytes, ...]
    traps: tuple[bytes, ...]

    @classmethod
    def of(cls, reader: Reader, folder: Path) -> Inputs:
        """Write what a reader reads into a new folder."""
        folder.mkdir(parents=True)
        files = tuple(reader.make(folder))
        return cls(folder, files, tuple(file.read_bytes() for file in files), tuple(reader.traps(folder)))

    def content(self, reader: Reader, number: int, seed: int) -> tuple[Path, bytes]:
        """The file with a number, and what it holds: good ones for negative numbers, then traps, then mutations."""
        if number < 0:
            return self.files[number], self.contents[number]
        if number < len(self.traps) * len(self.files):
            return self.files[number % len(self.files)], self.traps[number // len(self.files)]
        chosen = random.Random(f"{reader.name} {seed} {number}")
        which = chosen.randrange(len(self.files))
        return self.files[which], reader.mutate(self.contents[which], chosen)


def run_batch(reader: Reader, inputs: Inputs, seed: int, numbers: Sequence[int]) -> Iterator[Result]:
    """Read some mutated files; a process that dies or hangs costs its file alone.

    Args:
        reader: What reads.
        inputs: Its good files.
        seed: With a file's number decides its content.
        numbers: Of the files.
    """
    waiting = list(numbers)
    while waiting:
        receiving, sending = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.close(receiving)
            try:
                _read_files(reader, inputs, seed, waiting, sending)
            except BaseException:
                traceback.print_exc()
                os._exit(3)
            os._exit(0)
        os.close(sending)
        hung = False
        for line in _lines(receiving, child):
            if line is None:
                hung = True
                break
            yield Result(**json.loads(line))
            waiting.pop(0)
        os.close(receiving)
        status = os.waitpid(child, 0)[1]
        if waiting:
            code = os.waitstatus_to_exitcode(status)
            died = f"{CRASHED}: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
            yield Result(waiting.pop(0), HUNG if hung else died, SECONDS_PER_FILE if hung else 0.0)


def _lines(descriptor: int, child: int) -> Iterator[bytes | None]:
    """Lines that a child writes until it ends; None, and its end, after too long a silence."""
    rest = b""
    used, slept = seconds_used(child), 0.0
    while True:
        if not select.select([descriptor], [], [], 1.0)[0]:
            # Its own seconds count, so that a machine that is busy with other things makes no hang.
            slept = slept + 1.0 if is_asleep(child) else 0.0
            if seconds_used(child) - used < SECONDS_PER_FILE and slept < SECONDS_PER_FILE:
                continue
            os.kill(child, signal.SIGKILL)
            yield None
            return
        used, slept = seconds_used(child), 0.0
        part = os.read(descriptor, 65536)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        yield from lines


def shows() -> bool:
    """Whether to show every error, for looking into findings."""
    return "FUZZING_SHOWS" in os.environ


def _read_files(reader: Reader, inputs: Inputs, seed: int, numbers: Sequence[int], sending: int) -> None:
    # Readers in C++ write their complaints past Python.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    if not shows():
        os.dup2(nowhere, 2)
    guard = Guard(inputs.folder.parent)
    limit_memory(MEMORY_PER_FILE)
    for number in numbers:
        file, content = inputs.content(reader, number, seed)
        result = _read_one(reader, inputs, file, content, guard)
        if number < 0 and result[0] != ACCEPTED:
            result = (f"a good file was not accepted: {result[0]}", *result[1:])
        line = json.dumps(asdict(Result(number, *result))).encode() + b"\n"
        while line:
            line = line[os.write(sending, line) :]


def _read_one(reader: Reader, inputs: Inputs, file: Path, content: bytes, guard: Guard) -> tuple[str, float, int]:
    good = inputs.contents[inputs.files.index(file)]
    file.write_bytes(content)
    before = forget_peak()
    started = time.process_time()
    guard.watch()
    try:
        reader.read(inputs.folder, file)
        outcome = ACCEPTED
    except GenesisError as error:
        outcome = _judge(error)
    except BaseException as error:
        outcome = f"{type(error).__name__} in {_place(error)}: {str(error)[:200]}"
        if shows():
            traceback.print_exc()
    seconds, memory = time.process_time() - started, max(0, peak() - before)
    violations = guard.seen()
    if violations:
        outcome = violations[0]
    if not reader.is_cache and file.exists() and file.read_bytes() != content:
        outcome = "the file was changed"
    file.write_bytes(good)
    return outcome, seconds, memory


def _judge(error: GenesisError) -> str:
    if shows():
        sys.stderr.write(f"{error}\n")
    if error.where is None or error.mend is None:
        return (
            f"no word on {'where' if error.where is None else 'how to mend'} in {_place(error)}: {error.problem[:200]}"
        )
    return REFUSED


def _place(error: BaseException) -> str:
    """The last line of ours that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/nnunet_genesis/" in frame.filename] or frames
    return f"{ours[-1].filename.rsplit('/nnunet_genesis/', 1)[-1]}:{ours[-1].name}" if ours else "?"
