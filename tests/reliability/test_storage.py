"""Disks that are full, read-only or away, and clocks that jump: training goes on, checkpoints stay whole."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import StorageError
from nnunet_genesis.pretraining import run_files
from nnunet_genesis.pretraining.best_effort import LogFile
from nnunet_genesis.pretraining.run_lock import locked_folder
from nnunet_genesis.storage import check_free_space
from tests.reliability import small_run
from tests.reliability.small_run import fill, read, run, same_weights, save_after_every_step, small_disk, when_told
from tests.tensorboard_events import recorded_epochs

if TYPE_CHECKING:
    from tests.reliability.effort import Effort

RECORD = ("progress.csv", "progress.png", "restorations.png", "tensorboard")


@pytest.fixture(autouse=True)
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_run.write_cases(tmp_path / "nnunet", monkeypatch)
    small_run.quick_pictures(monkeypatch)


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "undisturbed") == 0
    save_after_every_step(monkeypatch)
    with small_disk(tmp_path / "disk") as output:
        steps: list[int] = []

        def check_and_free() -> None:
            steps.append(read(output, "checkpoint_latest.pth")["training_state"]["step"])
            (output / "filler").unlink()

        with when_told("epoch 1:", lambda: fill(output)) as told, when_told("epoch 3:", check_and_free):
            assert run(output) == 0
        assert steps == [2], "while the disk was full, the last save before was there, and whole"
        assert same_weights(read(output), read(tmp_path / "undisturbed"))
        assert len((output / "progress.csv").read_text().splitlines()) == 5
        assert "epoch 4:" in next(output.glob("pretraining_log_*")).read_text()
        left = [file.name for file in output.iterdir() if file.name.endswith(".tmp")]
        assert not left
        assert recorded_epochs(output / "tensorboard") == [3, 6, 9, 12]
    first = next(line for line in told if "could not be saved" in line)
    assert "the disk is full" in first
    assert "kB are free" in first or "bytes are free" in first
    assert "df -h" in first
    assert any("could be saved again" in line for line in told)
    for name in RECORD:
        assert sum(f"{name} cannot be written" in line for line in told) == 1, name
        assert sum(f"{name} is written again" in line for line in told) == 1, name
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err + shown.out


def test_a_log_that_cannot_be_written_says_so_once_and_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "away" / "log.txt"
    log = LogFile(file)
    for number in range(3):
        log.emit(logging.makeLogRecord({"msg": f"line {number}", "levelname": "INFO"}))
    file.parent.mkdir()
    log.emit(logging.makeLogRecord({"msg": "line 3", "levelname": "INFO"}))
    assert capfd.readouterr().err.count("cannot be written: No such file or directory") == 1
    assert file.read_text().startswith("(3 earlier line(s) could not be written)\n")
    assert file.read_text().endswith("line 3\n")
    full = LogFile(Path("/dev/full"))
    full.emit(logging.makeLogRecord({"msg": "line", "levelname": "INFO"}))
    assert "No space left on device" in capfd.readouterr().err


def test_a_result_that_cannot_be_written_is_an_error_and_the_rest_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "undisturbed") == 0
    save_after_every_step(monkeypatch)
    with small_disk(tmp_path / "disk") as output:
        with when_told("epoch 3:", lambda: fill(output)):
            assert run(output) == 1
        shown = capfd.readouterr().err
        assert "error: checkpoint_final.pth cannot be written: the disk is full" in shown
        assert "checkpoint_latest.pth of the last good save is as it was" in shown
        assert "--c" in shown
        assert "Traceback" not in shown
        assert not (output / "checkpoint_final.pth").exists()
        (output / "filler").unlink()
        assert run(output, "--c") == 0
        assert same_weights(read(output), read(tmp_path / "undisturbed"))


@pytest.mark.slow
def test_a_disk_that_is_read_only_or_away_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "undisturbed") == 0
    save_after_every_step(monkeypatch)
    with small_disk(tmp_path / "disk") as output:
        disk = output.parent
        for away, reason in (
            (f"mount --bind {disk} {disk} && mount -o remount,bind,ro {disk}", "is read-only"),
            (f"mount -t tmpfs tmpfs {disk}", "has vanished"),
        ):
            with (
                when_told("epoch 1:", partial(subprocess.run, away, shell=True, check=True)) as told,
                when_told("epoch 3:", partial(subprocess.run, ["umount", str(disk)], check=True)),
            ):
                assert run(output, "--overwrite") == 0
            assert any("could not be saved" in line and reason in line for line in told)
            assert same_weights(read(output), read(tmp_path / "undisturbed"))
    assert "Traceback" not in capfd.readouterr().err


def test_too_little_room_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StorageError, match=r"a run takes up to 1000000000\.0 GB, .* are free"):
        check_free_space(tmp_path, 10**18, "a run")
    monkeypatch.setattr(run_files, "WEIGHTS_ON_DISK", 10**12)
    assert run(tmp_path / "output") == 1
    assert "error: a run with this network takes up to" in capfd.readouterr().err


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def what_is_told(folder: Path) -> list[str]:
    """Lock a folder that is to be made and one that exists, and write a checkpoint; returns the errors."""
    told = []
    for place in (folder / "new", folder):
        with pytest.raises(StorageError) as error, locked_folder(place):
            pass
        told.append(str(error.value))
    with pytest.raises(StorageError) as error:
        checkpoint.write(folder / "a.pth", {})
    return [*told, str(error.value)]


def test_a_folder_of_somebody_else_is_named_with_what_mends_it(tmp_path: Path) -> None:
    if os.name == "nt" or os.getuid() != 0:
        pytest.skip("NOT TESTED: only root can become an unprivileged user")
    folder = tmp_path / "roots"
    folder.mkdir()
    for parent in (tmp_path, *tmp_path.parents[:2]):  # pytest's own
        parent.chmod(0o755)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), become_nobody) as nobody:
        told = nobody.submit(what_is_told, folder).result()
    for error in told:
        assert "user nobody may not write here (permission denied)" in error
        assert f"chmod u+w {folder}, ask its owner, or --output in a folder of your own" in error
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("failures", [1, 2])
def test_best_weights_that_wait_for_a_disk_are_not_those_of_later_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """On a CPU the weights of a network are no copy: training goes on in the same memory.

    With two failures, the disk is full also at first when the run is interrupted.
    """
    write, calls = checkpoint.write, itertools.count()

    def full_at_first(file: Path, content: dict[str, Any]) -> None:
        if next(calls) < failures:
            raise StorageError("the disk is full", where=file)
        write(file, content)

    monkeypatch.setattr(checkpoint, "write", full_at_first)
    monkeypatch.setattr(run_files, "SECONDS_TO_INSIST_WHEN_STOPPED", 1)
    facts = {"format_version": checkpoint.FORMAT_VERSION, "pretext": "masked", "dataset": "D", "cases": {}}
    files = run_files.RunFiles(tmp_path, {**facts, "validation_cases": {}}, {})
    network = torch.nn.Linear(3, 3)
    best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    files.write_best(network, {"epochs": 1})
    with torch.no_grad():
        network.weight += 1
    assert files.write_latest(network, {"epochs": 2}, {"step": 1}, must=True)
    assert same_weights(checkpoint.read(tmp_path / checkpoint.BEST_NAME), {"network_weights": best})


@pytest.mark.slow
def test_clocks_that_jump_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path / "undisturbed") == 0
    jumps = itertools.cycle((0, 3e7, -3e7, 1e9))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    save_after_every_step(monkeypatch)
    for case in (tmp_path / "nnunet").glob("nnUNet_preprocessed/*/*/*.b2nd"):
        os.utime(case, (4e9, 4e9))
    assert run(tmp_path / "jumping") == 0
    assert same_weights(read(tmp_path / "jumping"), read(tmp_path / "undisturbed"))


@pytest.mark.slow
def test_a_disk_that_fills_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effort: Effort) -> None:
    """The disk is full for a random number of kilobytes: every write of a run is cut off somewhere, once."""
    assert run(tmp_path / "undisturbed", epochs=2) == 0
    undisturbed = read(tmp_path / "undisturbed")
    save_after_every_step(monkeypatch)
    rounds, failed, survived = effort.times(8, 30), 0, 0
    for number in range(rounds):
        with small_disk(tmp_path / f"disk_{number}", megabytes=2) as output:
            with (output / "filler").open("wb") as stream:
                stream.write(os.urandom(int(2e6 * (0.4 + 0.6 * (number * 0.618 % 1)))))
            code = run(output, epochs=2)
            failed += code != 0
            (output / "filler").unlink()
            if code:
                assert run(output, "--c", epochs=2) == 0
            survived += same_weights(read(output), undisturbed)
    assert survived == rounds
    effort.record("disk_full", {"runs": rounds, "ended with an error": failed, "finished with equal weights": survived})
