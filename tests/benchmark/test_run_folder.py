"""How a training stands, who is at it, and what the tables of all of them hold."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nnunet_genesis import file_locks
from nnunet_genesis.benchmark import record as benchmark_record
from nnunet_genesis.benchmark.collect import EPOCHS_FILE, RESULTS_FILE, collect, list_reports, run_folder_of
from nnunet_genesis.benchmark.command import Command
from nnunet_genesis.benchmark.overview import describe_failures, describe_runs
from nnunet_genesis.benchmark.record import Record, locked, locked_report
from nnunet_genesis.benchmark.run_folder import RunFolder, State, try_lock
from nnunet_genesis.benchmark.runs import Length, Subset, list_runs
from nnunet_genesis.benchmark.scores import (
    SCRATCH,
    CaseScore,
    EpochScore,
    read_case_scores,
    read_epoch_scores,
    write_case_scores,
    write_epoch_scores,
)
from nnunet_genesis.benchmark.settings import BenchmarkSettings
from nnunet_genesis.benchmark.training import count_epochs, tail
from nnunet_genesis.errors import SetupError
from nnunet_genesis.file_locks import NO_LOCKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = BenchmarkSettings(
    dataset="Dataset001_Test",
    plans="nnUNetPlans",
    configuration="3d_fullres",
    plans_sha256="",
    device="cpu",
    cpu_autocast=None,
    epochs=2,
    iterations=None,
    subset_seed=0,
    subset_draws="fixed",
    test_cases=("a", "b"),
    left_out=(),
    groups={"a": "a", "b": "b", "c": "c"},
    tolerances_mm={"organ": 1.0},
)


def make_record(*schedules: str) -> Record:
    subsets = [Subset(0, 1, 0, ("1",), ("c",))]
    runs = list_runs(["mg"], subsets, schedules, [0], Length(2, None), draw_per_seed=False)
    return Record(SETTINGS, {"organ": [1]}, subsets, runs={run.identifier: run for run in runs})


def finish(folder: Path, record: Record, seconds: float = 60) -> None:
    for number, run in enumerate(record.runs.values()):
        files = run_folder_of(folder, run)
        files.folder.mkdir(parents=True)
        write_case_scores([CaseScore(run.key, "a", "a", "organ", "dice", 0.5 + number / 10)], files.scores_file)
        write_epoch_scores([EpochScore(run.key, 0, "", 0.5)], files.epochs_file)
        files.write({"status": "finished", "attempts": [{"seconds": seconds}], "mean_dice": 0.5})


def test_states(tmp_path: Path) -> None:
    files = RunFolder(tmp_path)
    assert files.state() is State.PENDING
    for status, state in (
        ("running", State.RUNNING),
        ("interrupted", State.INTERRUPTED),
        ("failed", State.FAILED),
        ("finished", State.INTERRUPTED),  # the scores are gone
    ):
        files.write({"status": status})
        assert files.state() is state
    files.record_file.write_text('{"status": ')
    assert files.state() is State.PENDING
    files.scores_file.touch()
    assert files.state() is State.FINISHED


def test_a_training_that_outlives_its_starter_keeps_the_lock(tmp_path: Path) -> None:
    """As when the starter is killed: nobody may start the same training beside it."""
    starter = textwrap.dedent(
        """
        import os, subprocess, sys
        from pathlib import Path
        from nnunet_genesis.benchmark.run_folder import try_lock
        with try_lock(Path(sys.argv[1])) as lock:
            training = subprocess.Popen(["cat"], stdin=0, stdout=subprocess.DEVNULL, pass_fds=(lock,))
            print("started", flush=True)
            os._exit(1)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", starter, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    assert process.wait() == 1
    with try_lock(tmp_path) as lock:
        assert lock is None
    process.stdin.close()  # the training ends
    process.stdout.close()
    for _ in range(10_000):
        with try_lock(tmp_path) as lock:
            if lock is not None:
                break
    assert lock is not None


def test_a_lock_is_free_again(tmp_path: Path) -> None:
    for _ in range(2):
        with try_lock(tmp_path) as one, try_lock(tmp_path) as other:
            assert one is not None
            assert other is None


@pytest.mark.parametrize("missing", NO_LOCKS)
def test_where_there_are_no_locks_one_command_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_lock(*_: object) -> None:
        raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    with try_lock(tmp_path) as lock:
        assert lock is not None
        assert lock >= 0
    assert "this file system has no locks" in caplog.text
    caplog.clear()
    with locked(tmp_path):
        pass
    assert "this file system has no locks" in caplog.text


def test_who_plans_does_not_wait_for_a_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with locked_report(tmp_path), locked(tmp_path):
        pass
    assert "waiting" not in caplog.text


@pytest.mark.parametrize("lock", [locked, locked_report])
def test_who_waits_for_another_process_is_told_and_goes_on_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr(file_locks, "SECONDS_BEFORE_TOLD", 0.05)
    taken, told = threading.Event(), threading.Event()

    def other() -> None:
        with lock(tmp_path):
            taken.set()
            assert told.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(60)
    monkeypatch.setattr(file_locks, "LOGGER", SimpleNamespace(warning=lambda *_: told.set()))
    with lock(tmp_path):
        assert told.is_set()
    thread.join()


@pytest.mark.parametrize(
    ("lock", "purpose"), [(locked, "changing this benchmark"), (locked_report, "writing the report of this benchmark")]
)
def test_who_waited_too_long_is_told_for_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Callable[[Path], Any], purpose: str
) -> None:
    for name in ("LOCK_SECONDS", "REPORT_LOCK_SECONDS"):
        monkeypatch.setattr(benchmark_record, name, 0.05)
    with (
        lock(tmp_path),
        pytest.raises(SetupError, match=f"another process has been {purpose} for 0 minutes"),
        lock(tmp_path),
    ):
        pass


def test_a_checkpoint_that_was_cut_off_is_not_continued_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = RunFolder(tmp_path)
    fold = files.results / "Dataset001_Test" / "trainer" / "fold_0"
    fold.mkdir(parents=True)
    for name in ("checkpoint_best.pth", "checkpoint_latest.pth"):
        torch.save({"weights": torch.zeros(1000)}, fold / name)
    latest = fold / "checkpoint_latest.pth"
    latest.write_bytes(latest.read_bytes()[:2000])
    files.set_damaged_aside()
    assert [file.name for file in files.checkpoints()] == ["checkpoint_best.pth"]
    assert (fold / "checkpoint_latest.pth.damaged").stat().st_size == 2000
    assert "was cut off in writing" in caplog.text


def test_the_control_stands_beside_every_schedule_that_shares_it(tmp_path: Path) -> None:
    record = make_record("warmup", "full_warmup", "full")
    finish(tmp_path, record)
    collect(tmp_path, record)
    cases = read_case_scores(tmp_path / RESULTS_FILE)
    keys = [(score.run.initialisation, score.run.schedule) for score in cases]
    pretrained = {("mg", "warmup"), ("mg", "full_warmup"), ("mg", "full")}
    # The standard control is there for `full` alone, which nobody asked for without its decoder.
    assert set(keys) == pretrained | {(SCRATCH, schedule) for _, schedule in pretrained}
    assert len(keys) == len(set(keys))
    values = {key: score.value for key, score in zip(keys, cases, strict=True)}
    assert values[SCRATCH, "warmup"] == values[SCRATCH, "full_warmup"] != values[SCRATCH, "full"]
    assert {score.run for score in read_epoch_scores(tmp_path / EPOCHS_FILE)} == {score.run for score in cases}


def test_what_is_not_finished_is_in_no_table(tmp_path: Path) -> None:
    record = make_record("standard")
    finish(tmp_path, record)
    first, second = record.runs.values()
    run_folder_of(tmp_path, first).scores_file.unlink()
    collect(tmp_path, record)
    assert {score.run for score in read_case_scores(tmp_path / RESULTS_FILE)} == {second.key}


def test_the_expected_time_follows_from_finished_runs(tmp_path: Path) -> None:
    record = make_record("standard", "warmup", "frozen")
    finish(tmp_path, record, seconds=3 * 3600)
    runs = list(record.runs.values())
    for run in runs[:2]:
        run_folder_of(tmp_path, run).scores_file.unlink()
    files = run_folder_of(tmp_path, runs[2])
    files.scores_file.unlink()
    files.write({"status": "failed", "problem": "nnUNetv2_train ended with code 1", "last_lines": ["out of memory"]})
    reports = list_reports(tmp_path, record)
    lines = describe_runs(reports, reports)
    assert lines[2] == f"{runs[2].identifier:<27}  failed       nnUNetv2_train ended with code 1"
    assert "6 runs: 2 interrupted, 1 failed, 3 finished" in lines
    assert "expected time of a run: 3.0 h" in lines
    assert "expected time of the 2 that are left, one after the other: 6.0 h" in lines
    assert describe_failures(reports) == [
        f"FAILED {runs[2].identifier}: nnUNetv2_train ended with code 1",
        "    out of memory",
    ]


def test_the_time_of_a_training_whose_starter_was_killed_is_unknown(tmp_path: Path) -> None:
    record = make_record("standard")
    finish(tmp_path, record)
    first, second = record.runs.values()
    files = run_folder_of(tmp_path, first)
    files.write({**files.read(), "attempts": [{"seconds": 60.0}, {"started": "2026-01-01"}]})
    reports = list_reports(tmp_path, record)
    lines = describe_runs(reports, reports)
    assert f"{first.identifier}  finished     time unknown, mean Dice 0.5" in lines
    assert f"{second.identifier:<{len(first.identifier)}}  finished     60 s, mean Dice 0.5" in lines
    assert "expected time of a run: 60 s" in lines


def test_epochs_are_counted_in_nnunets_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("$ nnUNetv2_train\nThis is Epoch 7 of nothing\n")
    assert count_epochs(log) == 0
    log.write_text("2026-11-22 04:59:19.676498: Epoch 0\n2026-11-22 04:59:20.1: Epoch time: 0.2 s\n")
    assert count_epochs(log) == 1
    log.write_text(log.read_text() + "2026-11-22 04:59:21.941023: Epoch 11 \n2026-11-22 04:59:21.9: Current\n")
    assert count_epochs(log) == 12


def test_the_tail_of_a_log_is_of_the_last_attempt(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("first attempt\n")
    offset = log.stat().st_size
    log.write_bytes(log.read_bytes() + b"second \xff attempt\n\n")
    assert tail(log, offset) == ["second \ufffd attempt"]


def test_a_command_is_told_as_one_could_type_it() -> None:
    command = Command(("nnUNetv2_train", "1"), {"A": "a path/with spaces", "B": None})
    assert str(command) == "env -u B A='a path/with spaces' nnUNetv2_train 1"
    environment = command.environment()
    assert environment["A"] == "a path/with spaces"
    assert "B" not in environment
