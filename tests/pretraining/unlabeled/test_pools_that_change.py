"""Pools whose images or sources change between two builds: nothing gets stuck, nothing outdated stays unnoticed."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.unlabeled.excluded_scans import ExcludedScans
from nnunet_genesis.pretraining.unlabeled.pool import Pool
from nnunet_genesis.pretraining.unlabeled.pool_index import index_pool
from nnunet_genesis.pretraining.unlabeled.report import describe_outcome
from nnunet_genesis.pretraining.unlabeled.sifting import Sifter
from nnunet_genesis.pretraining.unlabeled.supervised import Outcome, WorkerCrashed, WorkerTimedOut
from nnunet_genesis.scans.problems import Reason, ScanProblem
from nnunet_genesis.scans.scan import Scan
from nnunet_genesis.scans.voxel_hash import scan_key
from tests.pretraining.unlabeled.planned import build, draw_scan, plan_dataset, write_scan
from tests.scans.files import write_dicom_series

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.unlabeled.report import BuildOutcome


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedConfiguration:
    return plan_dataset(tmp_path, monkeypatch)


def names(outcome: BuildOutcome) -> list[str]:
    """Cases that the list names; each has its image, and nothing else has one."""
    listed = sorted(case.identifier for case in outcome.cases)
    assert sorted(file.stem for file in outcome.folder.glob("*.b2nd")) == listed
    assert len(index_pool(Pool(outcome.folder))) == len(listed)
    return listed


def test_a_case_that_lost_its_image_is_made_again_under_the_name_that_it_has_now(
    tmp_path: Path, planned: PlannedConfiguration
) -> None:
    folder = tmp_path / "v"
    write_scan(folder / "a.nii.gz", draw_scan(0))
    first = build(planned, folder)
    (first.folder / "a.b2nd").unlink()
    write_scan(folder / "a.nrrd", draw_scan(1))
    second = build(planned, folder)
    assert len(names(second)) == 2
    assert "a" not in names(second)
    assert list(second.added) == names(second)
    assert list(second.vanished) == ["a"]
    assert any(
        line.startswith("images that had vanished or were damaged: 1, e.g. a") for line in describe_outcome(second)
    )
    third = build(planned, folder)
    assert (sorted(third.kept), third.vanished) == (names(second), [])


@pytest.mark.parametrize("damage", [None, b"short"])
def test_a_case_that_lost_its_image_is_made_again_from_another_root(
    tmp_path: Path, planned: PlannedConfiguration, damage: bytes | None
) -> None:
    write_scan(tmp_path / "in" / "v" / "a.nii.gz", draw_scan(0))
    first = build(planned, tmp_path / "in" / "v")
    (first.folder / "a.b2nd").unlink()
    if damage is not None:
        (first.folder / "a.b2nd").write_bytes(damage)
    second = build(planned, tmp_path / "in")
    assert names(second) == ["v__a"]
    assert second.skipped == []


@pytest.mark.parametrize(("change", "reason"), [("damaged", Reason.UNREADABLE), ("equal", Reason.DUPLICATE)])
def test_a_changed_source_that_is_no_usable_scan_takes_its_case_along(
    tmp_path: Path, planned: PlannedConfiguration, change: str, reason: Reason
) -> None:
    folder = tmp_path / "in"
    files = {name: write_scan(folder / f"{name}.nii.gz", draw_scan(number)) for number, name in enumerate("abc")}
    build(planned, folder)
    files["b"].write_bytes(files["a"].read_bytes() if change == "equal" else b"no image")
    files["c"].unlink()
    second = build(planned, folder)
    assert names(second) == ["a", "c"]
    assert [(bad.identifier, bad.reason) for bad in second.removed] == [("b", reason)]
    assert list(second.sourceless) == ["c"]
    text = "\n".join(describe_outcome(second))
    assert f"removed from the pool: 1 scan whose files are no usable scan any more; e.g. b: {reason.value}: " in text
    assert "cases whose source files are gone: 1, e.g. c; they stay in the pool" in text
    line = json.loads((second.folder / "cases.jsonl").read_text().splitlines()[-1])
    assert (line["identifier"], line["removed"]) == ("b", True)
    assert line["reason"].startswith(reason.value)
    assert build(planned, folder).removed == []
    write_scan(files["b"], draw_scan(5))
    assert names(build(planned, folder)) == ["a", "b", "c"], "a mended one comes back"


def test_a_series_that_lost_a_slice_takes_its_case_along(tmp_path: Path, planned: PlannedConfiguration) -> None:
    slices = write_dicom_series(tmp_path / "in" / "patient", draw_scan(0, (8, 20, 18)).astype("int16"))
    write_scan(tmp_path / "in" / "a.nii.gz", draw_scan(1))
    assert names(build(planned, tmp_path / "in")) == ["a", "patient"]
    slices[4].unlink()
    second = build(planned, tmp_path / "in")
    assert names(second) == ["a"]
    assert [(bad.identifier, bad.reason) for bad in second.removed] == [("patient", Reason.MISSING_SLICES)]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_listed_for_a_moment_costs_no_case(
    tmp_path: Path, planned: PlannedConfiguration, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = tmp_path / "in" / "patient"
    write_dicom_series(folder, draw_scan(0, (8, 20, 18)).astype("int16"))
    write_scan(tmp_path / "in" / "a.nii.gz", draw_scan(1))
    build(planned, tmp_path / "in")
    listing = os.scandir

    def refuse(listed: Path) -> object:
        if listed == folder:
            raise OSError(number, "the system cannot tell", str(listed))
        return listing(listed)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        second = build(planned, tmp_path / "in")
    assert names(second) == ["a", "patient"]
    assert (second.removed, second.sourceless) == ([], [])
    assert [(bad.identifier, bad.reason) for bad in second.skipped] == [("patient", Reason.UNREADABLE)]
    assert sorted(build(planned, tmp_path / "in").kept) == ["a", "patient"]


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (WorkerTimedOut("not done after 60 seconds"), True),
        (WorkerCrashed("the process died"), True),
        (ScanProblem(Reason.CONSTANT, "all voxels are 7"), False),
    ],
)
def test_a_changed_source_that_cannot_be_read_for_a_moment_costs_no_case(
    tmp_path: Path, planned: PlannedConfiguration, error: Exception, *, is_kept: bool
) -> None:
    source = write_scan(tmp_path / "in" / "a.nii.gz", draw_scan(0))
    first = build(planned, tmp_path / "in")
    sifter = Sifter(Pool(first.folder), first.cases, ["a"], ExcludedScans({}), [])
    sifter.take(Outcome(Scan("a", ((str(source),),)), None, error))
    assert [case.identifier for case in Pool(first.folder).read_cases()] == ["a"] * is_kept
    assert [file.stem for file in first.folder.glob("*.b2nd")] == ["a"] * is_kept
    assert sifter.known == ({first.cases[0].scan: "a"} if is_kept else {})
    assert [bad.identifier for bad in sifter.skipped] == ["a"]


def test_cases_that_are_made_again_may_come_one_by_one(tmp_path: Path, planned: PlannedConfiguration) -> None:
    for number, name in enumerate("abc"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", draw_scan(number))
    first = build(planned, tmp_path / "in")
    sifter = Sifter(Pool(first.folder), first.cases, iter(["a", "c"]), ExcludedScans({}), [])
    assert (sorted(sifter.outdated), sorted(sifter.known.values())) == (["a", "c"], ["b"])


def test_an_old_case_gives_way_to_an_equal_one_though_its_own_file_cannot_be_read(
    tmp_path: Path, planned: PlannedConfiguration
) -> None:
    for number, name in enumerate("ab"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", draw_scan(number))
    first = build(planned, tmp_path / "in")
    sifter = Sifter(Pool(first.folder), first.cases, ["b"], ExcludedScans({}), [])
    sifter.known[first.cases[1].scan] = "c"
    sifter.take(Outcome(Scan("b", (("b.nii.gz",),)), None, TimeoutError(errno.ETIMEDOUT, "Connection timed out")))
    assert [(bad.identifier, bad.reason) for bad in sifter.removed] == [("b", Reason.DUPLICATE)]
    assert sifter.removed[0].detail == "the same voxels as case c of this pool"


def test_a_touched_source_with_a_new_copy_stays_once(tmp_path: Path, planned: PlannedConfiguration) -> None:
    folder = tmp_path / "in"
    source = write_scan(folder / "c.nii.gz", draw_scan(0))
    build(planned, folder)
    os.utime(source, (1, 1))
    for name in ("b", "d"):
        write_scan(folder / f"{name}.nii.gz", draw_scan(0))
    second = build(planned, folder)
    assert names(second) == ["b"]
    assert {bad.identifier: bad.reason for bad in second.skipped} == {"c": Reason.DUPLICATE, "d": Reason.DUPLICATE}


def test_a_changed_source_under_another_name_takes_its_cases_place(
    tmp_path: Path, planned: PlannedConfiguration
) -> None:
    source = write_scan(tmp_path / "in" / "v" / "a.nii.gz", draw_scan(0))
    build(planned, tmp_path / "in")
    write_scan(source, draw_scan(1))
    second = build(planned, tmp_path / "in" / "v")
    assert names(second) == list(second.added) == ["v__a"]
    assert second.cases[0].scan == scan_key(draw_scan(1)[None])


def test_a_folder_and_a_table_of_its_files_count_each_scan_once(tmp_path: Path, planned: PlannedConfiguration) -> None:
    folder, table = tmp_path / "in", tmp_path / "table.csv"
    rows = [f"patient_{name},0,{write_scan(folder / f'{name}.nii.gz', draw_scan(ord(name)))}" for name in "ab"]
    table.write_text("\n".join(["case,channel,path", *rows]))
    for counts in ("2 new, 0 done before", "0 new, 2 done before"):
        outcome = build(planned, folder, table)
        lines = describe_outcome(outcome)
        assert names(outcome) == ["a", "b"]
        assert lines[0].startswith(f"pool pool: 2 scans ({counts}), ")
        assert lines[1] == "skipped: 2 scans"
        assert {bad.identifier: bad.reason for bad in outcome.skipped} == {
            "patient_a": Reason.DUPLICATE, "patient_b": Reason.DUPLICATE
        }  # fmt: skip


def test_every_command_is_noted_and_a_dropped_exclusion_is_told(tmp_path: Path, planned: PlannedConfiguration) -> None:
    folder = tmp_path / "in"
    for number, name in enumerate("ab"):
        write_scan(folder / f"{name}.nii.gz", draw_scan(number))
    excluded = {scan_key(draw_scan(0)[None]): "validation case 7 of fold 0"}
    first = build(planned, folder, command="genesis first", excluded=excluded, exclusions=("--exclude-fold 0",))
    assert not [note for note in first.notes if "earlier build" in note]
    second = build(planned, folder, command="genesis second")
    assert [note for note in second.notes if note.startswith("an earlier build of this pool had --exclude-fold 0")]
    description = json.loads((first.folder / "pool.json").read_text())
    assert description["command"] == "genesis first"
    noted = [(entry["command"], entry["exclusions"], entry["excluded_keys"]) for entry in description["commands"]]
    assert noted == [("genesis first", ["--exclude-fold 0"], 1), ("genesis second", [], 0)]
    assert all(entry["time"] >= description["created"] for entry in description["commands"])


def test_a_build_that_fails_before_it_begins_leaves_no_folder(tmp_path: Path, planned: PlannedConfiguration) -> None:
    with pytest.raises(SetupError, match="there is no file or folder"):
        build(planned, tmp_path / "absent")
    table = tmp_path / "table.csv"
    table.write_text("wrong,header\n")
    with pytest.raises(SetupError, match="line 1 of the table"):
        build(planned, table)
    assert not planned.pools_folder.exists()
