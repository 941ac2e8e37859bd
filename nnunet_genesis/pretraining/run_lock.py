"""One process writes an output folder: a lock that tells who holds it, and that does not outlive its holder.

The kernel's lock on a file goes with its process, also over NFS and Lustre where they are set up for it. Beside it lies
a note that names the holder, and that the holder touches every few seconds: where the kernel's lock says nothing of
other hosts, a note that is still touched tells that its holder lives. Only changes of the note's time count, never its
age: clocks jump, and hosts disagree.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import socket
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from json import loads
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from filelock import Timeout

from nnunet_genesis.errors import SetupError
from nnunet_genesis.file_locks import file_lock
from nnunet_genesis.files import write_json
from nnunet_genesis.storage import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import FileLock

LOGGER = logging.getLogger("nnunet_genesis")
LOCK_FILE, NOTE_FILE = ".lock", ".running.json"
SECONDS_BETWEEN_TOUCHES = 10.0
SECONDS_TO_WATCH = 60.0
"""A note that is not touched for so long is of a process that died: six touches are missing. File systems that show
other hosts' changes late do so within half of it when the file is opened anew."""
SECONDS_FOR_DEAD_HOLDERS = 120.0
"""How long the kernel may keep the lock of a process that died: its children end, or the lease of its host runs out."""


@dataclass(frozen=True)
class Holder:
    """Who writes an output folder.

    Attributes:
        host: Name of its machine.
        pid: Number of its process there.
        process_start: When the system started this process, in its own words, empty where it does not tell; another
            process may have got the number since.
        started: When, for people.
        job: Number of its SLURM job, empty outside of one.
        command: Its command line.
    """

    host: str
    pid: int
    process_start: str
    started: str
    job: str
    command: str

    @classmethod
    def this_process(cls) -> Holder:
        """Describe this process."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            process_start=_process_start(os.getpid()),
            started=datetime.now(tz=timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
            job=os.environ.get("SLURM_JOB_ID", ""),
            command=shlex.join(sys.argv),
        )

    def __str__(self) -> str:
        """Name it in one line."""
        job = f" (SLURM job {self.job})" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, started {self.started}"

    def is_here(self) -> bool:
        """Whether it is, or was, on this machine."""
        return self.host == socket.gethostname()

    def is_alive_here(self) -> bool:
        """Whether it runs on this machine."""
        if not self.is_here():
            return False
        if self.process_start:
            return _process_start(self.pid) == self.process_start
        with contextlib.suppress(PermissionError):  # it is alive, and somebody else's
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return False
        return True


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other pretrainings from writing a folder, which is made if need be.

    Raises:
        SetupError: If another process holds it, named with its host, number, start and command.
        StorageError: If the folder cannot be written.
    """
    note = folder / NOTE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquire(folder)
        left = _read(note)
        if left is not None and not _has_died(left, note, kernel_tells=lock is not None):
            _release(lock)
            raise _refusal(folder, left)
        if left is not None:
            LOGGER.warning("%s ended without clearing up; this process goes on in its place", left)
        write_json(asdict(Holder.this_process()), note)
    except OSError as error:
        raise storage_error(error, folder) from error
    ends = Event()
    touching = Thread(target=_keep_touching, args=(note, ends), name="output lock", daemon=True)
    touching.start()
    try:
        yield
    finally:
        ends.set()
        touching.join()
        with contextlib.suppress(OSError):  # a folder that has vanished needs no lock
            note.unlink(missing_ok=True)
        _release(lock)


def _acquire(folder: Path) -> FileLock | None:
    """Take the kernel's lock; None where the file system has none."""
    lock = file_lock(folder / LOCK_FILE, "do not start two pretrainings on it at once")
    if lock is None:
        return None
    note = folder / NOTE_FILE
    first, deadline, told = _touched(note), time.monotonic() + SECONDS_FOR_DEAD_HOLDERS, False
    while not _try(lock):
        holder = _read(note)
        is_alive = holder is not None and (holder.is_alive_here() or _touched(note) != first)
        if is_alive or time.monotonic() > deadline:
            raise _refusal(folder, holder)
        if not told:
            LOGGER.warning("waiting for the lock of %s on %s", holder or "another process", folder)
            told = True
        time.sleep(0.2)
    return lock


def _try(lock: FileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    return True


def _has_died(holder: Holder, note: Path, *, kernel_tells: bool) -> bool:
    """Whether the process that left a note is dead, told by whoever has the kernel's lock, or without one."""
    if holder.is_here():
        return kernel_tells or not holder.is_alive_here()
    LOGGER.warning(
        "%s did not clear up; watching for %.0f s whether it still works in %s", holder, SECONDS_TO_WATCH, note.parent
    )
    first, deadline = _touched(note), time.monotonic() + SECONDS_TO_WATCH
    while time.monotonic() < deadline:
        time.sleep(min(1.0, SECONDS_TO_WATCH / 10))
        if _touched(note) != first:
            return False
    return True


def _refusal(folder: Path, holder: Holder | None) -> SetupError:
    if holder is None:
        return SetupError(
            "another process is writing this folder",
            where=folder,
            mend="wait until it is done, or give another --output",
        )
    end = f"scancel {holder.job}" if holder.job else f"kill {holder.pid}"
    return SetupError(
        f"another pretraining is writing this folder: {holder}\n  its command: {holder.command}",
        where=folder,
        mend=f"wait until it is done, end it ({end}, on {holder.host}), or give another --output",
    )


def _keep_touching(note: Path, ends: Event) -> None:
    while not ends.wait(SECONDS_BETWEEN_TOUCHES):
        with contextlib.suppress(OSError):  # the disk may come back
            os.utime(note)


def _touched(note: Path) -> int | None:
    """When a note was last touched, by the file server's clock; opened, so that no client's memory answers."""
    try:
        with note.open("rb") as stream:
            return os.fstat(stream.fileno()).st_mtime_ns
    except OSError:
        return None


def _read(note: Path) -> Holder | None:
    try:
        return Holder(**loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _release(lock: FileLock | None) -> None:
    if lock is not None:
        with contextlib.suppress(OSError):
            lock.release()


def _process_start(pid: int) -> str:
    """When the system started a process, in ticks since this boot; empty where it does not tell, or there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{boot} {after_name[19]}" if after_name[0] not in ("Z", "X") else ""
    except (OSError, IndexError):
        return ""
