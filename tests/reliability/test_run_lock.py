"""Two processes and one output folder: one writes, the other is told who does, and a dead one is in nobody's way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.file_locks import NO_LOCKS
from nnunet_genesis.pretraining import run_lock
from nnunet_genesis.pretraining.run_lock import LOCK_FILE, NOTE_FILE, locked_folder
from tests.reliability import small_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.reliability.effort import Effort

HOLD = """
import os, sys, time
from pathlib import Path
from nnunet_genesis.pretraining import run_lock
run_lock.SECONDS_BETWEEN_TOUCHES = 0.05
with run_lock.locked_folder(Path(sys.argv[1])):
    if "unlock" in sys.argv:  # as on a file system whose locks do not reach other hosts
        Path(sys.argv[1], run_lock.LOCK_FILE).unlink()
    print("holds", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(folder: Path, *arguments: str, host: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a folder, if need be on a machine of another name."""
    command = [sys.executable, "-c", HOLD, str(folder), *arguments]
    if host is not None:
        command = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if process.stdout.readline() != "holds\n":
            error = process.stderr.read()
            if host is not None and ("unshare" in error or "hostname" in error):
                pytest.skip(f"NOT TESTED: a machine of another name takes the right to make one ({error})")
            raise AssertionError(error)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_is_told_who_holds_the_folder_and_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    small_run.write_cases(tmp_path / "nnunet", monkeypatch)
    output = tmp_path / "output"
    with holder(output) as other:
        before = sorted(file.name for file in output.iterdir())
        assert small_run.run(output, "--overwrite") == 1
        assert sorted(file.name for file in output.iterdir()) == before == [LOCK_FILE, NOTE_FILE]
    told = capfd.readouterr().err
    assert f"another pretraining is writing this folder: process {other.pid} on {socket.gethostname()}, started" in told
    assert "its command: -c" in told
    assert f"kill {other.pid}" in told
    assert "Traceback" not in told


def test_any_task_of_a_slurm_job_locks_the_folder_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """``srun -n 2 genesis-pretrain-nnunet`` without torchrun's variables: two runs, not two processes of one."""
    small_run.write_cases(tmp_path / "nnunet", monkeypatch)
    for variable in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SLURM_PROCID", "1")
    with holder(tmp_path / "output"):
        assert small_run.run(tmp_path / "output", "--overwrite") == 1
    assert "another pretraining is writing this folder" in capfd.readouterr().err
    assert small_run.run(tmp_path / "new") == 0
    assert (tmp_path / "new" / "checkpoint_final.pth").is_file()


def test_the_lock_dies_with_its_holder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locked_folder(tmp_path):
            assert json.loads((tmp_path / NOTE_FILE).read_text())["pid"] == os.getpid()
    assert f"process {other.pid} on {socket.gethostname()}" in caplog.text
    assert "this process goes on in its place" in caplog.text
    assert not (tmp_path / NOTE_FILE).exists()
    with locked_folder(tmp_path):
        pass


def test_loader_processes_of_a_dead_holder_are_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A process that was forked keeps the kernel's lock for as long as it lives, which is some seconds longer."""
    import fcntl

    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
    descriptor = os.open(tmp_path / LOCK_FILE, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with subprocess.Popen(["sleep", "1"], pass_fds=[descriptor]) as orphan:
        os.close(descriptor)
        with locked_folder(tmp_path):
            assert orphan.wait() == 0
    assert "waiting for the lock of process" in caplog.text


def test_a_number_that_another_process_got_since_is_not_taken_for_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_kernel_locks(monkeypatch)
    with locked_folder(tmp_path):
        note = json.loads((tmp_path / NOTE_FILE).read_text())
        with pytest.raises(SetupError, match="another pretraining is writing"), locked_folder(tmp_path):
            pass
    (tmp_path / NOTE_FILE).write_text(json.dumps({**note, "process_start": "another boot 1"}))
    with locked_folder(tmp_path):
        pass


def without_kernel_locks(monkeypatch: pytest.MonkeyPatch, missing: int = NO_LOCKS[0]) -> None:
    def flock(*_: object) -> None:
        raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", flock)


@pytest.mark.parametrize("missing", NO_LOCKS)
def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: int
) -> None:
    without_kernel_locks(monkeypatch, missing)
    with locked_folder(tmp_path):
        assert (tmp_path / NOTE_FILE).exists()
    assert f"no locks ([Errno {missing}] {os.strerror(missing)}): do not start two pretrainings" in caplog.text


@pytest.mark.parametrize("reach", ["kernel locks reach other hosts", "kernel locks stay on their host", "no locks"])
def test_a_holder_on_another_host_is_known_by_its_touch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reach: str
) -> None:
    monkeypatch.setattr(run_lock, "SECONDS_TO_WATCH", 1.0)
    if reach == "no locks":
        without_kernel_locks(monkeypatch)
    unlock = ["unlock"] if reach == "kernel locks stay on their host" else []
    with holder(tmp_path, *unlock, host="node17") as other:
        with pytest.raises(SetupError, match=f"process {other.pid} on node17, started"), locked_folder(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        os.utime(tmp_path / NOTE_FILE, (4e9, 4e9))  # a clock that is ahead makes no dead process alive
        with locked_folder(tmp_path):
            assert json.loads((tmp_path / NOTE_FILE).read_text())["pid"] == os.getpid()
    assert "node17, started" in caplog.text
    assert "this process goes on in its place" in caplog.text


RACE = """
import os, sys, time
from pathlib import Path
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.run_lock import locked_folder
folder, wanted = Path(sys.argv[1]), int(sys.argv[2])
done = refused = 0
(folder / f"ready_{os.getpid()}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
while done < wanted:
    try:
        with locked_folder(folder):
            mark = folder / "inside"
            mark.touch(exist_ok=False)  # fails where two are inside
            time.sleep(0.05)  # one process takes longer for all of its times than another waits before it looks again
            mark.unlink()
            done += 1
    except SetupError:
        refused += 1
        time.sleep(0.001)
print(refused)
"""


def test_of_many_processes_one_at_a_time_is_inside(tmp_path: Path, effort: Effort) -> None:
    number, each = effort.times(3, 8), effort.times(10, 250)
    command = [sys.executable, "-c", RACE, str(tmp_path), str(each)]
    racing = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(number)
    ]
    while len(list(tmp_path.glob("ready_*"))) < number:
        assert all(process.poll() is None for process in racing)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    refused = 0
    for process in racing:
        output, error = process.communicate(timeout=600)
        assert process.returncode == 0, error
        refused += int(output)
    assert refused > 0
    effort.record("lock", {"processes": number, "times inside": number * each, "refused": refused, "twice inside": 0})


@pytest.mark.slow
def test_a_holder_killed_at_any_moment_stands_in_nobodys_way(tmp_path: Path, effort: Effort) -> None:
    kills = effort.times(10, 100)
    (tmp_path / "go").touch()
    for number in range(kills):
        process = subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path), "1000000"], stderr=subprocess.PIPE)
        while not (tmp_path / NOTE_FILE).exists():
            assert process.poll() is None, process.stderr.read() if process.stderr else None
            time.sleep(0.001)
        time.sleep(0.05 * (number * 0.618 % 1))
        process.kill()
        process.communicate()
        (tmp_path / "inside").unlink(missing_ok=True)
        with locked_folder(tmp_path):
            pass
    effort.record("lock_holders_killed", {"kills": kills, "lock taken over": kills})
