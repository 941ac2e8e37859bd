"""``genesis preprocess-unlabeled``: exit codes, mistakes in the call, other datasets and test images."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.commands import genesis
from tests.preprocessed import DATASET
from tests.pretraining.unlabeled.planned import draw_scan, plan_dataset, write_scan

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedConfiguration:
    return plan_dataset(tmp_path, monkeypatch)


def run(capsys: pytest.CaptureFixture[str], *arguments: object, expect: int = 0) -> tuple[str, str]:
    """Run the command on the dataset and return what it said on both streams."""
    code, said = genesis("preprocess-unlabeled", "-d", "777", *arguments), capsys.readouterr()
    assert code == expect, said.err
    return said.out, said.err


def test_what_it_says_and_how_it_ends(
    tmp_path: Path, planned: PlannedConfiguration, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    write_scan(folder / "good.nii.gz", draw_scan(0))
    write_scan(folder / "same.nrrd", draw_scan(0))
    (folder / "notes.txt").write_text("")
    call = ("-i", folder, "--name", "mine", "-np", "1")
    out, _ = run(capsys, *call)
    pool = planned.pools_folder / "mine"
    lines = out.splitlines()
    assert lines[0].startswith("pool mine: 1 scan (1 new, 0 done before), ")
    assert lines[1:4] == [
        "skipped: 1 scan",
        "       1  duplicate; e.g. same: the same voxels as case good of this pool",
        f"  all of them: {pool / 'report.csv'}",
    ]
    assert "files that are no images: 1" in lines
    assert lines[-1] == f"use it: genesis-pretrain-nnunet {DATASET} -c 3d_fullres -p nnUNetPlans --pools mine"
    run(capsys, *call, "--strict")  # a duplicate is no fault of a scan
    (folder / "broken.nii.gz").write_bytes(b"no image")
    write_scan(folder / "microns.nii.gz", draw_scan(1), (1e-3, 1e-3, 1e-3))
    out, _ = run(capsys, *call)
    assert "(0 new, 1 done before)" in out
    assert "to mend it: correct the spacing in its header\n" in out
    (folder / "microns.nii.gz").unlink()
    out, err = run(capsys, *call, "--strict", expect=1)
    assert "use it: " in out, "the others are done"
    assert "error: --strict: 1 scan cannot be used:\n    broken: unreadable: " in err
    with (pool / "report.csv").open(newline="") as stream:
        reader = csv.DictReader(stream)
        rows = {row["identifier"]: row for row in reader}
    assert reader.fieldnames == ["identifier", "source", "reason", "detail", "mend"]
    assert {name: (row["source"], row["reason"]) for name, row in rows.items()} == {
        "broken": (str(folder / "broken.nii.gz"), "unreadable"),
        "same": (str(folder / "same.nrrd"), "duplicate"),
    }


def test_the_command_that_uses_a_pool_keeps_out_what_the_pool_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plan_dataset(tmp_path, monkeypatch, channels=2)
    raw = tmp_path / "nnUNet_raw" / DATASET
    for place in range(2):
        write_scan(raw / "imagesTr" / f"own_{place:04d}.nii.gz", draw_scan(place))
        write_scan(tmp_path / "in" / f"a_{place:04d}.nii.gz", draw_scan(2 + place))
    shutil.copy(planned.dataset_folder / "dataset.json", raw)
    (planned.dataset_folder / "splits_final.json").write_text(json.dumps([{"train": [], "val": ["own"]}]))
    write_scan(tmp_path / "secret.nii.gz", draw_scan(4))
    listed = tmp_path / "held out.txt"
    listed.write_text("secret.nii.gz\n")
    call = ("-i", tmp_path / "in", "--name", "mine", "-np", "1")
    use = f"use it: genesis-pretrain-nnunet {DATASET} -c 3d_fullres -p nnUNetPlans --pools"
    out, _ = run(capsys, *call, "--exclude-fold", "0")
    assert out.splitlines()[-1] == f"{use} mine --exclude-fold 0"
    call = ("-i", tmp_path / "in", "--name", "apart", "-np", "1")
    out, _ = run(capsys, *call, "--single-channel", "--exclude-fold", "0", "--exclude", listed)
    assert out.splitlines()[-1] == f"{use} apart --single-channel --exclude-fold 0 --exclude '{listed}'"


def test_a_pool_without_any_scan_is_an_error(
    tmp_path: Path, planned: PlannedConfiguration, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    _, err = run(capsys, "-i", folder, "--name", "mine", expect=1)
    assert "error: pool mine is empty: no scan was found" in err
    (folder / "broken.nii.gz").write_bytes(b"no image")
    out, err = run(capsys, "-i", folder, "--name", "mine", expect=1)
    assert "error: pool mine is empty: 1 unreadable" in err
    assert "use it" not in out
    assert (planned.pools_folder / "mine" / "report.csv").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "there is nothing to preprocess"),
        (("-i", "somewhere"), "-i needs --name POOL"),
        (("--name", "mine"), "there is nothing to preprocess"),
        (("--imagesTs", "--name", "mine"), "--name needs -i FOLDER"),
        (("-i", ".", "--name", "../up"), "--name '../up': only letters"),
        (("-i", ".", "--name", ".hidden"), "--name '.hidden': only letters"),
        (("-i", ".", "--name", ""), "-i needs --name POOL"),
        (("-i", ".", "--name", "mine\n"), "only letters"),
        (("-i", ".", "--name", "labelled"), "--name labelled: that is what the dataset's own cases are called"),
        (("-i", ".", "--name", "mine", "-np", "0"), "-np 0: must be at least 1"),
        (("-i", ".", "--name", "mine", "--timeout", "nan"), "--timeout nan: must be above 0"),
        (("-i", ".", "--name", "mine", "--max-voxels", "-5"), "--max-voxels -5: must be at least 1"),
        (("-i", "absent_folder", "--name", "mine"), "absent_folder"),
        (("-i", ".", "--name", "mine", "-c", "3d_lowres"), "nnUNetPlans has no configuration '3d_lowres'"),
        (("--datasets", "12"), "there is no raw dataset 12"),
        (("--datasets", "chest"), "'chest' is neither a dataset id"),
        (("--datasets", "777"), "is the dataset whose plans are used"),
        (("--imagesTs",), "has no folder imagesTs"),
    ],
)
def test_mistakes_in_the_call(
    tmp_path: Path,
    planned: PlannedConfiguration,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    text: str,
) -> None:
    (tmp_path / "nnUNet_raw" / DATASET / "imagesTr").mkdir(parents=True)
    _, err = run(capsys, *arguments, expect=1)
    assert text in err
    assert "to mend it: " in err
    assert not planned.pools_folder.exists(), "nothing is left behind"


def test_datasets_without_labels_and_test_images(
    tmp_path: Path, planned: PlannedConfiguration, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "nnUNet_raw"
    write_scan(raw / DATASET / "imagesTs" / "t_0000.nii.gz", draw_scan(0))
    write_scan(raw / "Dataset012_Chest" / "imagesTr" / "a_0000.nii.gz", draw_scan(1))
    write_scan(raw / "Dataset013_Belly" / "imagesTr" / "b_0000.nii.gz", draw_scan(2))
    write_scan(raw / "Dataset013_Belly" / "labelsTr" / "b.nii.gz", draw_scan(3))
    write_scan(raw / "Dataset013_Belly" / "imagesTs" / "c_0000.nii.gz", draw_scan(4))
    out, _ = run(capsys, "--datasets", "12", "Dataset013_Belly", "--imagesTs", "-np", "1")
    pools = {
        folder.name: sorted(file.name for file in folder.glob("*.b2nd")) for folder in planned.pools_folder.iterdir()
    }
    assert pools == {"imagesTs": ["t.b2nd"], "Dataset012_Chest": ["a.b2nd"], "Dataset013_Belly": ["b.b2nd"]}
    assert out.count("use it: ") == 3


def test_one_empty_pool_does_not_stop_the_next(
    tmp_path: Path, planned: PlannedConfiguration, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "nnUNet_raw"
    (raw / "Dataset012_Chest" / "imagesTr").mkdir(parents=True)
    write_scan(raw / "Dataset013_Belly" / "imagesTr" / "b_0000.nii.gz", draw_scan(2))
    _, err = run(capsys, "--datasets", "12", "13", "-np", "1", expect=1)
    assert "pool Dataset012_Chest is empty" in err
    assert (planned.pools_folder / "Dataset013_Belly" / "b.b2nd").is_file()


def test_scans_above_the_limits_are_left_out(
    tmp_path: Path, planned: PlannedConfiguration, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "in" / "small.nii.gz", draw_scan(0, (4, 10, 10)))
    write_scan(tmp_path / "in" / "large.nii.gz", draw_scan(1, (8, 20, 20)))
    run(capsys, "-i", tmp_path / "in", "--name", "mine", "--max-voxels", "1000", "-np", "1")
    report = (planned.pools_folder / "mine" / "report.csv").read_text().splitlines()
    assert len(report) == 2
    assert ",too large," in report[1]
