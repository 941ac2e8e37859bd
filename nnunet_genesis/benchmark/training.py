"""One training by nnU-Net's own command, in a process of its own."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from nnunet_genesis.benchmark.command import COMMAND, Command, find_command, package_versions
from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.raw_scan_keys import SCAN_KEYS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nnunet_genesis.benchmark.run_folder import RunFolder

LOG_LINES = 20
"""Lines of the log that a failure keeps."""
_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0
"""Time that an interrupted training has to end by itself."""
_EPOCH = re.compile(rb"^(?:[\d\-: .]+)?Epoch (\d+)\s*$", re.MULTILINE)


def train(
    command: Command,
    run_folder: RunFolder,
    *,
    user_results: Path,
    lock: int,
    tick: Callable[[int], None],
) -> None:
    """Run a training to its end, or go on with it.

    Args:
        command: The training.
        run_folder: Of the training.
        user_results: ``nnUNet_results/DATASET`` of the user, for keys of raw scans that were made already.
        lock: Descriptor that the process keeps open as long as it lives, or -1.
        tick: Called about every second with the number of epochs that were begun by all attempts.

    Raises:
        TrainingError: If it fails; the record of the training says so, too.
        KeyboardInterrupt: If this process is interrupted; the training is stopped.
    """
    continues = bool(run_folder.checkpoints())
    words = (*command.words, "--c") if continues else command.words
    _keep_scan_keys(user_results, run_folder)
    before = {name: value for name, value in run_folder.read().items() if name not in ("problem", "last_lines")}
    attempt: dict[str, Any] = {
        "command": str(Command(words, command.variables)),
        "started": now(),
        "host": platform.node(),
        "versions": package_versions(),
    }
    attempts = [*before.get("attempts", []), attempt]
    run_folder.write({**before, "status": State.RUNNING.value, "attempts": attempts})
    started = time.monotonic()
    code: int | None = None
    offset = run_folder.log_file.stat().st_size if run_folder.log_file.exists() else 0
    try:
        with run_folder.log_file.open("ab") as log:
            log.write(f"$ {attempt['command']}\n".encode())
            log.flush()
            process = _start(words, command, log.fileno(), lock)
            try:
                code = _wait(process, run_folder.log_file, tick)
            finally:
                _stop(process)
    finally:
        attempt["seconds"] = round(time.monotonic() - started, 1)
        attempt["ended"] = now()
        attempt["exit_code"] = code
        state = State.INTERRUPTED if code is None else State.FAILED if code else State.RUNNING  # scores follow
        run_folder.write({**before, "status": state.value, "attempts": attempts})
    if code:
        fail(run_folder, f"{COMMAND} ended with code {code}", tail(run_folder.log_file, offset))


class TrainingError(Exception):
    """A training failed; the others go on."""


def fail(run_folder: RunFolder, problem: str, lines: list[str]) -> None:
    """Keep a failure in the record of a training.

    Raises:
        TrainingError: Always.
    """
    run_folder.write({**run_folder.read(), "status": State.FAILED.value, "problem": problem, "last_lines": lines})
    raise TrainingError(problem)


def tail(file: Path, offset: int = 0) -> list[str]:
    """The last lines of a log that are not empty, from a byte on."""
    with file.open("rb") as stream:
        stream.seek(offset)
        lines = stream.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-LOG_LINES:]


def now() -> str:
    """The time, for records."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _start(words: tuple[str, ...], command: Command, log: int, lock: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [find_command(), *words[1:]],
        env=command.environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        # Its loader processes are stopped with it; a Ctrl-C reaches this process alone, which then does that.
        start_new_session=True,
        pass_fds=(lock,) if lock >= 0 else (),
    )


def _wait(process: subprocess.Popen[bytes], log_file: Path, tick: Callable[[int], None]) -> int:
    while (code := process.poll()) is None:
        tick(count_epochs(log_file))
        time.sleep(_POLL_SECONDS)
    return code


def count_epochs(log_file: Path) -> int:
    """Number of epochs that were begun, by nnU-Net's log."""
    found = _EPOCH.findall(log_file.read_bytes())
    return int(found[-1]) + 1 if found else 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a training where it has not ended, and whatever it left running."""
    last = getattr(signal, "SIGKILL", signal.SIGTERM)
    for what in (signal.SIGTERM, last):
        if process.poll() is None:
            _send(process, what)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_PATIENCE_SECONDS)
    # Loader processes outlive a training that is killed, e.g. for want of memory, and keep memory and the lock.
    _send(process, last)


def _send(process: subprocess.Popen[bytes], what: signal.Signals) -> None:
    """Send a signal to a training and its loader processes."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # the latter of macOS, where only zombies are left
            os.killpg(process.pid, what)  # the session that it was started in
    else:
        process.terminate()


def _keep_scan_keys(user_results: Path, run_folder: RunFolder) -> None:
    """Spare the training the reading of raw images that the check before all trainings read already."""
    keys = user_results / SCAN_KEYS_FILE
    copy = run_folder.results / user_results.name / SCAN_KEYS_FILE
    if keys.is_file() and not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(keys, copy)
