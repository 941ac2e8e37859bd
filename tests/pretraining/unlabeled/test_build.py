"""Pools built of small scans: what is kept, what goes on, and what is refused."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from filelock import FileLock
from matplotlib.image import imread

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.case_files import read_whole
from nnunet_genesis.pretraining.unlabeled.excluded_scans import ExcludedScans
from nnunet_genesis.pretraining.unlabeled.image_storage import write_image
from nnunet_genesis.pretraining.unlabeled.report import describe_outcome
from nnunet_genesis.scans.problems import Reason
from nnunet_genesis.scans.voxel_hash import hash_voxels, scan_key
from tests.pretraining.unlabeled.planned import build, draw_scan, plan_dataset, write_scan

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.unlabeled.report import BuildOutcome


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedConfiguration:
    return plan_dataset(tmp_path, monkeypatch)


def contents(outcome: BuildOutcome) -> dict[str, dict[str, Any]]:
    """Everything that is known of the cases, but what they cost."""
    return {case.identifier: {**asdict(case), "seconds": 0, "bytes": 0} for case in outcome.cases}


def test_a_case_is_described_by_what_is_in_it(tmp_path: Path, planned: PlannedConfiguration) -> None:
    raw = draw_scan(0, (5, 24, 20))
    source = write_scan(tmp_path / "in" / "sub" / "a.nii.gz", raw, (3.0, 1.5, 1.0))
    outcome = build(planned, tmp_path / "in")
    (case,) = outcome.cases
    image = read_whole(outcome.folder / case.file)
    assert case.shape == list(image.shape) == [1, 5, 36, 20], "resampled to 3 x 1 x 1 mm"
    assert case.raw_shape == [1, 5, 24, 20]
    assert case.raw_spacing == [3, 1.5, 1]
    assert case.spacing == [3, 1, 1]
    assert case.sha256 == hash_voxels(image)
    assert case.raw_sha256 == hash_voxels(raw[None])
    assert case.scan == scan_key(raw[None])
    assert case.sources == [str(source)]
    assert case.bytes == (outcome.folder / case.file).stat().st_size
    for name, voxels in (("raw", raw), ("preprocessed", image[0])):
        statistics = case.statistics[0][name]
        expected = {
            "min": voxels.min(), "max": voxels.max(), "mean": voxels.mean(), "std": voxels.std(),
            "percentile_00_5": np.percentile(voxels, 0.5), "median": np.median(voxels),
            "percentile_99_5": np.percentile(voxels, 99.5),
        }  # fmt: skip
        assert statistics == pytest.approx({key: float(value) for key, value in expected.items()}, rel=1e-4, abs=1e-4)
    description = json.loads((outcome.folder / "pool.json").read_text())
    assert description["preprocessing"] == planned.preprocessing
    assert description["channel_names"] == ["channel 0"]
    picture = imread(outcome.folder / "pool.png")
    assert picture.std() > 0.05


def test_equal_scans_are_kept_once_and_always_the_same_one(tmp_path: Path, planned: PlannedConfiguration) -> None:
    scan = np.round(draw_scan(0))
    folder = tmp_path / "in"
    write_scan(folder / "m.nii.gz", scan)
    write_scan(folder / "renamed.nrrd", scan.astype(np.int16))
    write_scan(folder / "sub" / "flipped.mha", scan[:, ::-1, ::-1])
    write_scan(folder / "turned.nii", scan.transpose(2, 0, 1), (1.0, 3.0, 1.0), Origin=(5, 6, 7))
    write_scan(folder / "other.nii.gz", draw_scan(1))
    outcomes = [build(planned, folder, name=f"by_{workers}", workers=workers) for workers in (1, 3)]
    assert contents(outcomes[0]) == contents(outcomes[1]), "whatever the number of workers"
    assert [case.identifier for case in outcomes[0].cases] == ["m", "other"]
    for outcome in outcomes:
        skipped = {bad.identifier: (bad.reason, bad.detail) for bad in outcome.skipped}
        assert skipped == dict.fromkeys(
            ("renamed", "sub__flipped", "turned"), (Reason.DUPLICATE, "the same voxels as case m of this pool")
        )
        assert sorted(file.name for file in outcome.folder.glob("*.b2nd")) == ["m.b2nd", "other.b2nd"]
        assert list((outcome.folder / ".partial").iterdir()) == []


def test_a_second_run_reads_only_what_is_new_or_changed(tmp_path: Path, planned: PlannedConfiguration) -> None:
    folder = tmp_path / "in"
    files = {name: write_scan(folder / f"{name}.nii.gz", draw_scan(number)) for number, name in enumerate("abcd")}
    first = build(planned, folder)
    assert list(first.added) == ["a", "b", "c", "d"]
    before = {name: (first.folder / f"{name}.b2nd").stat().st_mtime_ns for name in "abcd"}
    write_scan(files["b"], draw_scan(10))
    os.utime(files["c"], (1, 1))  # touched, with the same voxels: no duplicate of itself
    files["d"].unlink()
    write_scan(folder / "e.nii.gz", draw_scan(11))
    write_scan(folder / "f.nii.gz", draw_scan(0))
    second = build(planned, folder)
    after = {name: (first.folder / f"{name}.b2nd").stat().st_mtime_ns for name in "abcd"}
    assert list(second.kept) == ["a"]
    assert list(second.added) == ["b", "c", "e"]
    assert [(bad.identifier, bad.reason) for bad in second.skipped] == [("f", Reason.DUPLICATE)]
    assert {name for name in "abcd" if before[name] != after[name]} == {"b", "c"}
    assert [case.identifier for case in second.cases] == ["a", "b", "c", "d", "e"], "d stays without its source"
    old, new = contents(first), contents(second)
    assert old["b"]["sha256"] != new["b"]["sha256"]
    assert old["c"]["sha256"] == new["c"]["sha256"]
    third = build(planned, folder)
    assert list(third.kept) == ["a", "b", "c", "e"]
    assert list(third.added) == []


def test_what_a_dead_process_left_is_cleared_away(tmp_path: Path, planned: PlannedConfiguration) -> None:
    folder = tmp_path / "in"
    write_scan(folder / "a.nii.gz", draw_scan(0))
    first = build(planned, folder)
    partial = first.folder / ".partial"
    (partial / "b.123.b2nd").write_bytes(b"half")
    (partial / "reading").mkdir()
    (partial / "reading" / "b.nii").write_bytes(b"half")
    with (first.folder / "cases.jsonl").open("a") as stream:
        stream.write('{"identifier": "b", "fi')
    write_scan(folder / "b.nii.gz", draw_scan(1))
    second = build(planned, folder)
    assert (list(second.kept), list(second.added)) == (["a"], ["b"])
    assert list(partial.iterdir()) == []
    assert len((first.folder / "cases.jsonl").read_text().splitlines()) == 2


def test_names_that_no_one_should_give_a_file(tmp_path: Path, planned: PlannedConfiguration) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = [
        "a..b.nii.gz", "line\nbreak.nii.gz", "Größe ärm 扫描.nii.gz", "-rf.nii.gz", "=1+1.nii.gz", "a b;c.nii.gz",
        "x_seg.nii.gz", "x" * 230 + ".nii.gz", "quote\"'.nii.gz",
    ]  # fmt: skip
    paths = [os.fsencode(folder) + b"/" + os.fsencode(name) for name in names]
    paths.append(os.fsencode(folder) + b"/latin1_\xe9.nii.gz")
    for number, path in enumerate(paths):
        os.rename(write_scan(tmp_path / "plain.nii.gz", draw_scan(number)), path)  # noqa: PTH104
    (folder / "broken\n\x1b[31mred\u202e.nii.gz").write_bytes(b"no image")
    outcome = build(planned, folder, workers=2)
    kept = {source for case in outcome.cases for source in case.sources}
    assert kept >= {os.fsdecode(path) for path in paths[:-1]}, outcome.skipped
    for case in outcome.cases:
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", case.identifier)
        assert not case.identifier.endswith("_seg")
        assert (outcome.folder / case.file).is_file()
    with (outcome.folder / "report.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = list(csv.DictReader(stream))
    reported = {row["source"] for row in rows}
    assert str(folder / "broken\n\x1b[31mred\u202e.nii.gz") in reported
    # SimpleITK cannot open a name that is no UTF-8; that file is the only one that may be told of instead of kept.
    assert os.fsdecode(paths[-1]) in kept | reported
    assert len(kept) + len(reported) == len(paths) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in",
        "nnUNet_preprocessed",
        "nnUNet_raw",
        "nnUNet_results",
    ]
    assert [list(build(planned, folder).kept)] == [[case.identifier for case in outcome.cases]], "found again"


def test_two_folders_with_the_same_names_do_not_overwrite_each_other(
    tmp_path: Path, planned: PlannedConfiguration
) -> None:
    for number, folder in enumerate(("one", "two")):
        write_scan(tmp_path / folder / "scan.nii.gz", draw_scan(number))
    first, second = build(planned, tmp_path / "one"), build(planned, tmp_path / "two")
    assert len(second.cases) == 2
    assert contents(first)["scan"] == contents(second)["scan"]
    both = build(planned, tmp_path / "one", tmp_path / "two")
    assert sorted(both.kept) == sorted(case.identifier for case in second.cases)


def test_a_pool_is_written_by_one_process(tmp_path: Path, planned: PlannedConfiguration) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz", draw_scan(0))
    folder = planned.pools_folder / "pool"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(SetupError, match="another process is writing pool pool"):
        build(planned, tmp_path / "in")
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert len(build(planned, tmp_path / "in").cases) == 1


def test_a_file_system_without_locks_is_told_and_takes_the_pool(
    tmp_path: Path, planned: PlannedConfiguration, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    write_scan(tmp_path / "in" / "a.nii.gz", draw_scan(0))
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert len(build(planned, tmp_path / "in").cases) == 1
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    folder = planned.pools_folder / "pool"
    assert told == [
        f"{folder}: this file system has no locks ([Errno 38] Function not implemented): do not build one pool twice"
        " at once"
    ]


def test_a_pool_of_other_plans_is_not_mixed_with(tmp_path: Path, planned: PlannedConfiguration) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz", draw_scan(0))
    build(planned, tmp_path / "in")
    other = replace(planned, preprocessing={**planned.preprocessing, "spacing": [2.0, 1.0, 1.0]})
    with pytest.raises(SetupError, match=r"by other plans:\n    spacing: \[3.0, 1.0, 1.0\], wanted \[2.0, 1.0, 1.0\]"):
        build(other, tmp_path / "in")


def test_excluded_scans_stay_out_and_a_pool_that_holds_them_is_refused(
    tmp_path: Path, planned: PlannedConfiguration
) -> None:
    for number, name in enumerate("ab"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", draw_scan(number))
    excluded = {scan_key(draw_scan(0)[None]): "validation case 7 of fold 0"}
    outcome = build(planned, tmp_path / "in", name="clean", excluded=excluded)
    assert [case.identifier for case in outcome.cases] == ["b"]
    assert [(bad.reason, bad.detail) for bad in outcome.skipped] == [
        (Reason.EXCLUDED, "the same voxels as validation case 7 of fold 0")
    ]
    assert outcome.broken == [], "no fault of a scan, and nothing for --strict"
    build(planned, tmp_path / "in", name="leaky")
    with pytest.raises(SetupError, match=r"holds 1 scan.* excluded; a has the same voxels as validation case 7"):
        build(planned, tmp_path / "in", name="leaky", excluded=excluded)


def test_one_channel_of_an_excluded_scan_is_enough_to_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan_dataset(tmp_path, monkeypatch, channels=2)
    images = {number: draw_scan(number) for number in range(4)}
    # The second excluded scan has an empty channel, as many patients have, which tells nothing.
    excluded = {
        scan_key(np.stack([images[0], images[1]])): "validation case 7 of fold 0",
        scan_key(np.stack([draw_scan(9), np.zeros_like(images[0])])): "validation case 8 of fold 0",
    }
    scans = {"same": (0, 1), "swapped": (1, 0), "with_another": (2, 1), "others": (2, 3)}
    for name, channels in scans.items():
        for place, number in enumerate(channels):
            write_scan(tmp_path / "in" / f"{name}_{place:04d}.nii.gz", images[number])
    outcome = build(planned, tmp_path / "in", name="clean", excluded=excluded)
    assert [case.identifier for case in outcome.cases] == ["others"]
    one_channel = "a channel with the same voxels as one of validation case 7 of fold 0"
    assert {bad.identifier: (bad.reason, bad.detail) for bad in outcome.skipped} == {
        "same": (Reason.EXCLUDED, "the same voxels as validation case 7 of fold 0"),
        "swapped": (Reason.EXCLUDED, one_channel),
        "with_another": (Reason.EXCLUDED, one_channel),
    }
    leaky = build(planned, tmp_path / "in", name="leaky")
    assert len(leaky.cases) == 4, "without exclusions, a shared channel is no repetition"
    with pytest.raises(SetupError, match=r"holds 3 scan.* excluded; same has the same voxels as validation case 7"):
        build(planned, tmp_path / "in", name="leaky", excluded=excluded)


def test_masks_and_absent_modalities_are_channels_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan_dataset(tmp_path, monkeypatch, channels=2)
    images = [draw_scan(number) for number in range(4)]
    seconds = {"both": images[3], "mask": (images[1] > 400).astype(np.float32), "absent": np.zeros_like(images[2])}
    for first, (name, second) in zip(images, seconds.items(), strict=False):
        write_scan(tmp_path / "in" / f"{name}_0000.nii.gz", first)
        write_scan(tmp_path / "in" / f"{name}_0001.nii.gz", second)
    for place in range(2):
        write_scan(tmp_path / "in" / f"nothing_{place:04d}.nii.gz", np.full_like(images[0], place))
    outcome = build(planned, tmp_path / "in")
    assert sorted(case.identifier for case in outcome.cases) == ["absent", "both", "mask"]
    assert [(bad.identifier, bad.reason) for bad in outcome.skipped] == [("nothing", Reason.CONSTANT)]
    for case in outcome.cases:
        image = read_whole(outcome.folder / case.file)
        assert np.isfinite(image).all()
        assert (image[1].min() == image[1].max()) == (case.identifier == "absent")
    told = "note: 1 scan with a channel that holds nothing, e.g. absent: channel 1; it is learned from"
    assert told in describe_outcome(outcome)


def test_an_excluded_scan_with_an_empty_channel_keeps_no_other_patient_out() -> None:
    empty = np.zeros((6, 20, 18), dtype=np.float32)
    excluded = ExcludedScans({scan_key(np.stack([draw_scan(0), empty])): "case 1"})
    assert excluded.explain(scan_key(np.stack([draw_scan(1), empty]))) is None
    assert excluded.explain(scan_key(np.stack([empty, empty]))) is None
    assert excluded.explain(scan_key(draw_scan(0)[None])) == "a channel with the same voxels as one of case 1"


def test_scans_that_nothing_is_left_of_are_reported(tmp_path: Path, planned: PlannedConfiguration) -> None:
    write_scan(tmp_path / "in" / "good.nii.gz", draw_scan(0))
    write_scan(tmp_path / "in" / "thin.nii.gz", draw_scan(1, (1, 40, 40)), (1.0, 1.0, 1.0))
    outcome = build(planned, tmp_path / "in")
    assert [case.identifier for case in outcome.cases] == ["good"]
    assert [bad.identifier for bad in outcome.skipped] == ["thin"]


def test_a_result_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    image = draw_scan(0)[None]
    with pytest.raises(SetupError, match="cannot be written"):
        write_image(image, (4, 8, 8), tmp_path / "no such folder" / "case")
    assert write_image(image, (4, 8, 8), tmp_path / "case") == tmp_path / "case.b2nd"
    assert [file.name for file in tmp_path.iterdir()] == ["case.b2nd"]
    assert (read_whole(tmp_path / "case.b2nd") == image).all()
