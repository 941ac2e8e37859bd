"""A benchmark that goes on from what was published of it (benchmarks/restore_benchmark.py)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.restore_benchmark import restore
from nnunet_genesis.benchmark.collect import collect, list_reports
from nnunet_genesis.benchmark.initialisations import refuse_other_files
from nnunet_genesis.benchmark.record import read_record, write_record
from nnunet_genesis.benchmark.report import write_report
from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.checkpoint import sha256_of_file
from nnunet_genesis.errors import SetupError
from tests.benchmark.simulated_folder import Size, write_folder

if TYPE_CHECKING:
    from pathlib import Path

NAME = "models-genesis"
LOSSES = "epoch,train_loss,steps_per_second\n0,0.5,{}\n1,{},3.0\n"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Tables and record of six trainings, of which one failed and one was interrupted, and a table of losses."""
    (tmp_path / "whole").mkdir()
    write_folder(tmp_path / "whole", Size(("scratch", NAME), (5,), ("standard",)))
    folder = tmp_path / "published"
    folder.mkdir()
    for file in ("benchmark.json", "results.csv", "epochs.csv"):
        shutil.copy(tmp_path / "whole" / file, folder)
    (folder / f"{NAME}_progress.csv").write_text(LOSSES.format("2.0", "0.25"))
    return folder


def pretrain_again(folder: Path, last_loss: str) -> Path:
    folder.mkdir()
    (folder / "progress.csv").write_text(LOSSES.format("9.9", last_loss))
    (folder / "checkpoint_final.pth").write_bytes(b"weights")
    return folder / "checkpoint_final.pth"


def test_finished_trainings_come_back_and_the_others_are_still_to_be_run(published: Path, tmp_path: Path) -> None:
    restored = tmp_path / "restored"
    checkpoint = pretrain_again(tmp_path / "again", "0.25")
    assert restore(published, restored, {NAME: checkpoint}) == 4
    record = read_record(restored)
    assert record is not None
    assert [report.state for report in list_reports(restored, record)] == [State.FINISHED] * 4 + [State.PENDING] * 2
    collect(restored, record)
    for table in ("results.csv", "epochs.csv"):
        assert (restored / table).read_text() == (published / table).read_text()
    assert record.initialisations[NAME]["sha256"] == sha256_of_file(checkpoint)
    before = read_record(published)
    assert before is not None
    assert (record.settings, record.subsets) == (before.settings, before.subsets)


def test_controls_that_tables_hold_under_another_schedule_come_back(published: Path, tmp_path: Path) -> None:
    record = read_record(published)
    assert record is not None
    for run in [run for run in record.runs.values() if run.key.initialisation == NAME]:
        del record.runs[run.identifier]
        other = replace(run, key=replace(run.key, schedule="full"))
        record.runs[other.identifier] = other
    record.same_control["full"] = "standard"
    write_record(record, published)
    for table in ("results.csv", "epochs.csv"):
        text = (published / table).read_text()
        (published / table).write_text(text.replace(",standard,", ",full,"))
    restored = tmp_path / "restored"
    assert restore(published, restored, {}) == 4
    finished = [report.run for report in list_reports(restored, record) if report.state is State.FINISHED]
    assert {(run.key.initialisation, run.key.schedule) for run in finished} == {("scratch", "standard"), (NAME, "full")}
    collect(restored, record)
    lines = {table: sorted((restored / table).read_text().splitlines()) for table in ("results.csv", "epochs.csv")}
    assert lines == {table: sorted((published / table).read_text().splitlines()) for table in lines}


def test_another_pretraining_does_not_take_the_name_of_the_published_one(published: Path, tmp_path: Path) -> None:
    checkpoint = pretrain_again(tmp_path / "again", "0.26")
    with pytest.raises(SetupError, match=r"epoch 2 is not that of .*'0\.26'.* not .*'0\.25'"):
        restore(published, tmp_path / "restored", {NAME: checkpoint})
    with pytest.raises(SetupError, match=f"--initialisation other: the benchmark has {NAME}"):
        restore(published, tmp_path / "restored", {"other": checkpoint})
    assert not (tmp_path / "restored").exists()


def test_the_file_that_the_first_trainings_began_from_stays_known(published: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "restored", tmp_path / "restored again"]
    checkpoints = [pretrain_again(tmp_path / name, "0.25") for name in ("second", "third")]
    checkpoints[1].write_bytes(b"other weights")
    restore(published, folders[0], {NAME: checkpoints[0]})
    for table in ("results.csv", "epochs.csv", f"{NAME}_progress.csv"):
        shutil.copy(published / table, folders[0])
    restore(folders[0], folders[1], {NAME: checkpoints[1]})
    first, second, third = (read_record(folder) for folder in (published, *folders))
    assert first is not None
    assert second is not None
    assert third is not None
    before, after = first.initialisations[NAME], third.initialisations[NAME]
    hashes = [before["sha256"], sha256_of_file(checkpoints[0]), sha256_of_file(checkpoints[1])]
    assert [one["sha256"] for one in (*after["earlier"], after)] == hashes
    assert after["earlier"][0] == {name: before[name] for name in ("address", "file", "sha256")}
    collect(folders[1], third)
    page = write_report(folders[1]).read_text()
    assert all(one[:16] in page for one in hashes)
    # A benchmark that goes on compares with the file of now alone, and what it learns of it leaves the others.
    told = {NAME: {"sha256": hashes[2], "file": str(checkpoints[1]), "address": ""}}
    refuse_other_files(third.initialisations, told)
    with pytest.raises(SetupError, match="the name of another file"):
        refuse_other_files(third.initialisations, {NAME: {**told[NAME], "sha256": hashes[0]}})


def test_the_same_file_is_no_earlier_one(published: Path, tmp_path: Path) -> None:
    checkpoint = pretrain_again(tmp_path / "again", "0.25")
    record = read_record(published)
    assert record is not None
    record.initialisations[NAME]["sha256"] = sha256_of_file(checkpoint)
    write_record(record, published)
    restore(published, tmp_path / "restored", {NAME: checkpoint})
    restored = read_record(tmp_path / "restored")
    assert restored is not None
    assert "earlier" not in restored.initialisations[NAME]
    assert restored.initialisations[NAME]["file"] == str(checkpoint)


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ("epoch,train_loss\n0,0.5\n", r"1 epochs, not the 2 of "),
        ("epoch,train_loss\n0,0.5\n1,0.25\n2,0.2\n", r"3 epochs, not the 2 of "),
        ("epoch,train_loss\n0,0.5\n1", r"epoch 2 is not that of "),  # cut off
    ],
)
def test_a_pretraining_of_another_length_is_refused(published: Path, tmp_path: Path, losses: str, told: str) -> None:
    checkpoint = pretrain_again(tmp_path / "again", "0.25")
    checkpoint.with_name("progress.csv").write_text(losses)
    with pytest.raises(SetupError, match=told):
        restore(published, tmp_path / "restored", {NAME: checkpoint})
    assert not (tmp_path / "restored").exists()


def test_what_was_interrupted_is_restored_again(published: Path, tmp_path: Path) -> None:
    restored = tmp_path / "restored"
    restore(published, restored, {})
    whole = {file.relative_to(restored): file.read_bytes() for file in restored.rglob("*") if file.is_file()}
    runs = sorted(folder for folder in (restored / "runs").iterdir() if (folder / "scores.csv").exists())
    (restored / "benchmark.json").unlink()
    (runs[0] / "scores.csv").unlink()
    for file in runs[1].iterdir():
        file.unlink()
    shutil.rmtree(runs[2])
    assert restore(published, restored, {}) == 4
    assert {file.relative_to(restored): file.read_bytes() for file in restored.rglob("*") if file.is_file()} == whole


def test_trainings_of_another_benchmark_are_not_restored_over(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    (folder / "benchmark.json").unlink()
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(SetupError, match="there is a training scratch__5__standard__seed0 already"):
        restore(published, folder, {})
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_benchmark_is_not_written_over(published: Path) -> None:
    kept = (published / "benchmark.json").read_bytes()
    with pytest.raises(SetupError, match="there is a benchmark already"):
        restore(published, published, {})
    assert (published / "benchmark.json").read_bytes() == kept
