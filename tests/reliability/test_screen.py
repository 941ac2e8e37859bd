"""A screen that cannot be written (a log on a full disk, a pipe that nobody reads) changes no end of a command."""

from __future__ import annotations

import io
import os
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tqdm import tqdm

from nnunet_genesis import checkpoint
from nnunet_genesis.screen import unfailing_screen
from tests.integration.workspace import SCRIPTS, Workspace
from tests.preprocessed import smooth_cases, write_dataset

FULL = Path("/dev/full")
PRETRAIN = str(SCRIPTS / "genesis-pretrain-nnunet")
SECONDS = 600
"""Ends what hangs."""

fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))  # absent from Windows
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="NOT TESTED: this system has no /dev/full")


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is buffered, as in some containers, nothing is left that could fail when Python ends."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    write_dataset(tmp_path, smooth_cases(4, (8, 16, 16)), (4, 8, 8), monkeypatch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Workspace(tmp_path)


def command(output: Path, *, epochs: int) -> list[str]:
    """A run of `epochs` with two steps each."""
    words = f"777 -device cpu -np 0 --batch-size 2 --epochs {epochs} --iterations-per-epoch 2".split()
    return [PRETRAIN, *words, "--output", str(output)]


def logged(output: Path) -> str:
    return "".join(file.read_text() for file in output.glob("pretraining_log_*.txt"))


def test_a_run_finishes_where_stderr_is_on_a_full_disk(workspace: Workspace) -> None:
    output = workspace.root / "out"
    with FULL.open("w") as full:
        done = subprocess.run(
            command(output, epochs=2),
            env=workspace.environment(),
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, logged(output)
    assert done.stdout == f"{output / 'checkpoint_final.pth'}\n"
    assert checkpoint.read(output / "checkpoint_final.pth")["genesis"]["steps"] == 4
    assert "epoch 2: training" in logged(output)


def test_a_run_finishes_when_who_read_its_screen_is_gone(workspace: Workspace) -> None:
    output = workspace.root / "out"
    process = subprocess.Popen(
        command(output, epochs=2), env=workspace.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(SECONDS) == 0, logged(output)
    assert checkpoint.read(output / "checkpoint_final.pth")["genesis"]["steps"] == 4


@pytest.mark.slow
def test_a_stopped_run_says_75_without_a_screen(workspace: Workspace) -> None:
    output = workspace.root / "out"
    with FULL.open("w") as full:
        process = subprocess.Popen(
            command(output, epochs=10_000), env=workspace.environment(), stdout=full, stderr=full
        )
    try:
        deadline = time.monotonic() + SECONDS
        while "epoch 1: training" not in logged(output):
            assert process.poll() is None, f"ended with {process.returncode}:\n{logged(output)}"
            assert time.monotonic() < deadline, logged(output)
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 75, logged(output)
    finally:
        process.kill()
    assert (output / "checkpoint_latest.pth").is_file()


@pytest.mark.parametrize(("stderr", "name"), [("2> /dev/full", "genesis-pretrain-nnunet"), ("2>&-", "genesis")])
def test_a_mistyped_command_ends_with_2_without_a_screen(stderr: str, name: str) -> None:
    done = subprocess.run(f"{SCRIPTS / name} --nonsense {stderr}", shell=True, check=False)
    assert done.returncode == 2


def read_terminal(reader: int, last: str) -> str:
    """What arrives at the other end, up to `last`; the system hands it on in parts."""
    shown = b""
    while last not in shown.decode(errors="ignore") and select.select([reader], [], [], 60)[0]:
        shown += os.read(reader, 10_000)
    return shown.decode(errors="ignore")


def test_bars_find_width_and_encoding_of_the_real_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 57, 0, 0))
    with os.fdopen(terminal, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with unfailing_screen(results_too=False):
            with tqdm(total=2, dynamic_ncols=True) as bar:
                bar.update(1)
                tqdm.write("a line", file=sys.stderr)
                shown = read_terminal(reader, "█")
            assert bar.ncols == 57 - 1, "tqdm leaves one free"
            os.close(reader)
            sys.stderr.write("nobody is there\n")  # EIO
        assert sys.stderr is stream
    assert "█" in shown
    assert "a line\r\n" in shown


def test_what_an_encoding_lacks_is_escaped_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that asks for the path of a checkpoint would get nothing, and no error."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    with unfailing_screen(results_too=True):
        sys.stdout.write("/daten/Müller/checkpoint_final.pth\n")
    assert raw.getvalue() == rb"/daten/M\xfcller/checkpoint_final.pth" + os.linesep.encode()
