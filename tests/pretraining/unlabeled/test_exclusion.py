"""Scans that stay out: validation cases of a fold and what a list names, by voxels and not by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.pretraining.unlabeled.build import BuildOptions
from nnunet_genesis.pretraining.unlabeled.exclusion import keys_of_fold, keys_of_list
from nnunet_genesis.scans.voxel_hash import scan_key
from tests.preprocessed import DATASET
from tests.pretraining.unlabeled.planned import draw_scan, plan_dataset, write_scan

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration

CASES = tuple(f"case_{number}" for number in range(4))
OPTIONS = BuildOptions(workers=1, seconds=60)


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedConfiguration:
    """A dataset with four raw cases, one of them a test case, of which fold 0 validates on two."""
    planned = plan_dataset(tmp_path, monkeypatch)
    raw = tmp_path / "nnUNet_raw" / DATASET
    raw.mkdir()
    (raw / "dataset.json").write_text((planned.dataset_folder / "dataset.json").read_text())
    for number, case in enumerate(CASES):
        folder = "imagesTs" if number == 3 else "imagesTr"
        write_scan(raw / folder / f"{case}_0000.nii.gz", draw_scan(number))
    splits = [{"train": [CASES[0]], "val": [CASES[1], CASES[2]]}]
    (planned.dataset_folder / "splits_final.json").write_text(json.dumps(splits))
    return planned


def key(number: int) -> str:
    return scan_key(draw_scan(number)[None])


def test_a_list_may_begin_with_windows_mark_of_its_encoding(planned: PlannedConfiguration, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("# held out\ncase_1\n", encoding="utf-8-sig")
    assert set(keys_of_list(planned, file, OPTIONS, endings=frozenset({".nii.gz"}))) == {key(1)}


def read_list(planned: PlannedConfiguration, file: Path, *lines: str) -> dict[str, str]:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return keys_of_list(planned, file, OPTIONS, endings=frozenset({".nii.gz"}))


def test_a_folds_validation_cases(planned: PlannedConfiguration) -> None:
    assert keys_of_fold(planned, 0, workers=2) == {
        key(1): "validation case case_1 of fold 0",
        key(2): "validation case case_2 of fold 0",
    }
    with pytest.raises(SetupError, match="--exclude-fold 3: there are 1 folds"):
        keys_of_fold(planned, 3, workers=1)


def test_a_list_names_cases_files_and_folders(tmp_path: Path, planned: PlannedConfiguration) -> None:
    write_scan(tmp_path / "elsewhere" / "x.nrrd", draw_scan(10))
    write_scan(tmp_path / "elsewhere" / "y.mha", np.round(draw_scan(11)).astype(np.int16))
    single = write_scan(tmp_path / "single" / "größe.nii", draw_scan(12))
    lines = ("# patients of the test set", "", "  case_3 ", "case_0", "elsewhere", str(single))
    keys = read_list(planned, tmp_path / "list.txt", *lines)
    assert keys == {
        key(3): "case_3, named in list.txt",
        key(0): "case_0, named in list.txt",
        key(10): f"{tmp_path / 'elsewhere' / 'x.nrrd'}, named in list.txt",
        scan_key(np.round(draw_scan(11))[None]): f"{tmp_path / 'elsewhere' / 'y.mha'}, named in list.txt",
        key(12): f"{single}, named in list.txt",
    }


def test_a_list_with_a_mistake_is_refused_with_the_line(tmp_path: Path, planned: PlannedConfiguration) -> None:
    file = tmp_path / "list.txt"
    with pytest.raises(SetupError, match=f"line 2 is 'case_9', which is no file, no folder and no case of {DATASET}"):
        read_list(planned, file, "case_0", "case_9")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SetupError, match="line 1 is 'empty': no scan in it"):
        read_list(planned, file, "empty")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    with pytest.raises(SetupError, match=r"'.*broken.nii.gz' cannot be read"):
        read_list(planned, file, "broken.nii.gz")
    with pytest.raises(SetupError, match="the list cannot be read"):
        keys_of_list(planned, tmp_path / "absent.txt", OPTIONS, endings=frozenset())


def test_everything_that_a_line_can_mean_is_excluded(tmp_path: Path, planned: PlannedConfiguration) -> None:
    raw = tmp_path / "nnUNet_raw" / DATASET
    write_scan(raw / "imagesTs" / "case_1_0000.nii.gz", draw_scan(20))
    write_scan(tmp_path / "case_1" / "x.nii.gz", draw_scan(21))
    (tmp_path / "case_3").mkdir()  # without a scan, it is the case of this name alone
    assert set(read_list(planned, tmp_path / "list.txt", "case_1")) == {key(1), key(20), key(21)}
    assert set(read_list(planned, tmp_path / "list.txt", "case_3")) == {key(3)}


def test_a_list_of_paths_needs_no_raw_dataset(
    tmp_path: Path, planned: PlannedConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "x.nii.gz", draw_scan(10))
    monkeypatch.delenv("nnUNet_raw")
    assert list(read_list(planned, tmp_path / "list.txt", "x.nii.gz")) == [key(10)]
    with pytest.raises(SetupError, match="nnUNet_raw is not set"):
        read_list(planned, tmp_path / "list.txt", "case_0")


def test_a_raw_validation_case_that_cannot_be_read_is_an_error(tmp_path: Path, planned: PlannedConfiguration) -> None:
    (tmp_path / "nnUNet_raw" / DATASET / "imagesTr" / "case_2_0000.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match="case_2 cannot be read"):
        keys_of_fold(planned, 0, workers=1)
