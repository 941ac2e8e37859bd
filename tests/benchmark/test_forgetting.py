"""Trainings that were planned by mistake are taken back; what has begun is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.benchmark import forgetting
from nnunet_genesis.benchmark.candidates import Candidate
from nnunet_genesis.benchmark.collect import run_folder_of
from nnunet_genesis.benchmark.execution import ExecutionOptions, execute
from nnunet_genesis.benchmark.forgetting import forget_pending
from nnunet_genesis.benchmark.initialisations import refuse_other_files
from nnunet_genesis.benchmark.planning import Axes, make_plan
from nnunet_genesis.benchmark.record import read_record, write_record
from nnunet_genesis.benchmark.request import Request
from nnunet_genesis.benchmark.run_folder import try_lock
from nnunet_genesis.benchmark.scores import CaseScore, EpochScore, write_case_scores, write_epoch_scores
from tests.benchmark.test_planning import GROUPED, plan, run_command
from tests.benchmark.written import write_planned

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.runs import Run
    from nnunet_genesis.plans import PlannedConfiguration

FIRST = "scratch__2__standard__seed0"


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedConfiguration:
    return write_planned(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, planned: PlannedConfiguration) -> Path:
    """A benchmark with one training, which has finished."""
    folder = tmp_path / "benchmark"
    made = plan(planned, folder, Axes(labelled=("2",), seeds=(0,)), GROUPED)
    (run,) = made.runs
    assert run.identifier == FIRST
    finish(folder, made.record, run)
    return folder


def finish(folder: Path, record: Record, run: Run) -> None:
    files = run_folder_of(folder, run)
    files.folder.mkdir(parents=True)
    (label,) = record.labels
    scores = [CaseScore(run.key, case, case, label, "dice", 0.5, True) for case in record.settings.test_cases]
    write_case_scores(scores, files.scores_file)
    write_epoch_scores([EpochScore(run.key, 0, "", 0.5)], files.epochs_file)
    files.write({"status": "finished", "attempts": [{"seconds": 60.0}], "mean_dice": 0.5})


def kept_runs(folder: Path) -> Record:
    record = read_record(folder)
    assert record is not None
    return record


def test_what_was_named_by_mistake_is_as_if_it_had_never_been(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kept_runs(folder)
    mistaken = plan(planned, folder, Axes(labelled=("5",), schedules=("warmup",), seeds=(30, 31)), Request(epochs=None))
    code, output = run_command(capsys, "--output", str(folder), "--forget-pending")
    assert code == 0, output
    names = [run.identifier for run in mistaken.runs]
    assert names == ["scratch__6__warmup__seed30", "scratch__6__warmup__seed31"]
    assert [line for line in output.splitlines() if line.startswith("forgotten")] == [
        f"forgotten, it had not begun: {name}" for name in names
    ]
    after = kept_runs(folder)
    assert after.provenance["invocations"][-1]["forgotten"] == names
    assert (after.runs, after.schedules) == (before.runs, before.schedules)
    assert [subset.cases for subset in after.subsets] == [subset.cases for subset in mistaken.record.subsets]
    page = (folder / "report.html").read_text()
    assert "1 planned: 1 finished." in page
    assert "are not in these numbers" not in page
    # Neither a command without flags nor a new seed asks for it again; who asks gets the same cases and fold.
    assert [run.identifier for run in plan(planned, folder, Axes(), Request()).runs] == [FIRST]
    assert [run.identifier for run in plan(planned, folder, Axes(seeds=(1,)), Request()).runs] == [FIRST[:-1] + "1"]
    again = plan(planned, folder, Axes(labelled=("5",), schedules=("warmup",), seeds=(30, 31)), Request())
    assert (again.runs, again.record.subsets) == (mistaken.runs, mistaken.record.subsets)


def test_what_has_begun_is_kept_and_told(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan(planned, folder, Axes(seeds=(1, 2, 3, 4, 5, 6)), Request())
    interrupted, failed, noted, locked, touched, untouched = (run_folder_of(folder, run) for run in made.runs)
    for files in (interrupted, failed, noted, locked, touched):
        files.folder.mkdir(parents=True)
    interrupted.write({"status": "interrupted"})
    failed.write({"status": "failed", "problem": "nnUNetv2_train ended with code 1"})
    noted.log_file.write_text("half a training, whose record is lost\n")
    with try_lock(touched.folder):
        pass
    with try_lock(locked.folder):
        code, output = run_command(capsys, "--output", str(folder), "--forget-pending")
    assert code == 0, output
    assert [line for line in output.splitlines() if line.startswith(("forgotten", "kept"))] == [
        f"forgotten, it had not begun: {touched.folder.name}",
        f"forgotten, it had not begun: {untouched.folder.name}",
        f"kept: {interrupted.folder.name}: interrupted",
        f"kept: {failed.folder.name}: failed",
        f"kept: {noted.folder.name}: its folder holds log.txt",
        f"kept: {locked.folder.name}: another process is at it",
    ]
    assert f"delete its folder in {folder / 'runs'} first" in output
    assert list(kept_runs(folder).runs) == [FIRST, *(run.identifier for run in made.runs[:4])]
    assert not untouched.folder.exists()


def test_where_nothing_is_pending_nothing_is_written_but_the_report(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "benchmark.json").read_bytes()
    code, output = run_command(capsys, "--output", str(folder), "--forget-pending")
    assert (code, "there is no run that has not begun" in output) == (0, True)
    assert (folder / "benchmark.json").read_bytes() == before
    assert planned.dataset_folder.is_dir()


def test_a_file_that_no_run_is_left_of_gives_its_name_back(planned: PlannedConfiguration, folder: Path) -> None:
    record = kept_runs(folder)
    wrong = Candidate("mg", "wrong.pth", folder / "wrong.pth")
    made = make_plan(record.settings, Axes([wrong], schedules=("full",), seeds=(0, 1)), planned, record).record
    made.initialisations["mg"] = {"file": "wrong.pth", "address": "wrong.pth", "sha256": "ab" * 32, "unchecked": []}
    write_record(made, folder)
    told = forget_pending(folder, "genesis benchmark 1 --forget-pending")
    assert told.runs == ["mg__2__full__seed0", "scratch__2__standard__seed1", "mg__2__full__seed1"]
    assert told.initialisations == ["mg"]
    after = kept_runs(folder)
    assert (after.initialisations, after.same_control) == ({}, {})
    refuse_other_files(
        after.initialisations, {"mg": {"file": "right.pth", "address": "right.pth", "sha256": "cd" * 32}}
    )


def test_a_process_that_had_planned_it_does_not_train_it(planned: PlannedConfiguration, folder: Path) -> None:
    made = plan(planned, folder, Axes(seeds=(1,)), Request())
    assert forget_pending(folder, "").runs == [made.runs[0].identifier]
    outcome = execute(made.runs, made.record, folder, planned, ExecutionOptions())
    assert (outcome.finished, outcome.failed) == ([], [])
    assert not run_folder_of(folder, made.runs[0]).record_file.exists()


def test_a_training_that_begins_meanwhile_stays_planned(
    planned: PlannedConfiguration, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(planned, folder, Axes(seeds=(1, 2, 3)), Request())
    begun = made.runs[1]

    def begin_then_write(record: Record, where: Path) -> None:
        files = run_folder_of(folder, begun)
        files.folder.mkdir(parents=True, exist_ok=True)
        files.write({"status": "running"})
        write_record(record, where)

    monkeypatch.setattr(forgetting, "write_record", begin_then_write)
    told = forget_pending(folder, "")
    assert told.runs == [made.runs[0].identifier, made.runs[2].identifier]
    assert told.kept == {begun.identifier: "running"}
    assert list(kept_runs(folder).runs) == [FIRST, begun.identifier]


def test_a_benchmark_of_which_nothing_has_begun_has_a_report(
    planned: PlannedConfiguration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "other"
    plan(planned, folder, Axes(labelled=("2",), seeds=(30,)), GROUPED)
    code, output = run_command(capsys, "--output", str(folder), "--forget-pending")
    assert code == 0, output
    assert "no run is planned" in output
    assert "None is planned." in (folder / "report.html").read_text()
    made = plan(planned, folder, Axes(labelled=("2",), seeds=(3, 0)), Request())
    assert [run.key.seed for run in made.record.runs.values()] == [3, 0]


@pytest.mark.parametrize("more", [("--seeds", "3", "0"), ("--dry-run",), ("--job", "1/2"), ("--retry-failed",)])
def test_it_does_one_thing_only(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    plan(planned, folder, Axes(seeds=(30,)), Request())
    before = (folder / "benchmark.json").read_bytes()
    code, output = run_command(capsys, "--output", str(folder), "--forget-pending", *more)
    assert code == 1
    assert f"--forget-pending with {more[0]}" in output
    assert (folder / "benchmark.json").read_bytes() == before


def test_where_there_is_no_benchmark_none_is_made(
    planned: PlannedConfiguration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = run_command(capsys, "--output", str(tmp_path / "nothing"), "--forget-pending")
    assert code == 1
    assert "there is no benchmark here" in output
    assert not (tmp_path / "nothing").exists()
    assert planned.dataset_folder.is_dir()
