"""Leaks are found by names and by voxels, and images that cannot match are not even read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_genesis import raw_scan_keys
from nnunet_genesis.scans.voxel_hash import scan_key
from nnunet_genesis.trainers.leaks import Leaks, find_leaks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

DATASET = "Dataset005_Prostate"
RNG = np.random.default_rng(0)
SCANS = {f"prostate_{n}": RNG.normal(size=(2, 6 + n, 20, 24)).astype(np.float32) for n in range(4)}
TEST = {name: RNG.normal(size=(2, slices, 20, 24)).astype(np.float32) for name, slices in (("unseen", 9), ("seen", 30))}


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    folder = tmp_path / "raw" / DATASET
    for part, scans in (("imagesTr", SCANS), ("imagesTs", TEST)):
        (folder / part).mkdir(parents=True)
        for case, image in scans.items():
            for channel, volume in enumerate(image):
                sitk.WriteImage(sitk.GetImageFromArray(volume), str(folder / part / f"{case}_{channel:04d}.nii.gz"))
    description = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 4}))
    return folder


def find(tmp_path: Path, facts: dict[str, Any], *validation: str) -> Leaks:
    return find_leaks(facts, dataset_name=DATASET, results_folder=tmp_path / "results", validation_cases=validation)


def key(image: npt.NDArray[np.float32]) -> str:
    """Key of a scan that another tool stored with rows and slices turned around."""
    return scan_key(image[:, ::-1, :, ::-1])


def test_scans_of_another_dataset_are_recognised_by_their_voxels(raw: Path, tmp_path: Path) -> None:
    assert raw.is_dir()
    facts = {"dataset": "Dataset900_Archive", "scans": [key(SCANS["prostate_2"]), key(TEST["seen"])]}
    leaks = find(tmp_path, facts, "prostate_1", "prostate_2")
    assert (leaks.validation, leaks.test, leaks.unchecked) == (["prostate_2"], ["seen"], None)
    first, second = leaks.warnings(3)
    assert "pretraining saw 1 validation case(s) of fold 3, the first is prostate_2" in first
    assert "--exclude-fold 3" in first
    assert "1 image(s) of imagesTs, the first is seen" in second
    assert find(tmp_path, facts, "prostate_0", "prostate_1").validation == []


def test_names_count_within_the_dataset_alone(raw: Path, tmp_path: Path) -> None:
    assert raw.is_dir()
    facts = {"dataset": DATASET, "cases": {"prostate_0": "ab"}, "validation_cases": {"prostate_1": "cd"}}
    assert find(tmp_path, facts, "prostate_0", "prostate_1", "prostate_2").validation == ["prostate_0", "prostate_1"]
    other = find(tmp_path, {**facts, "dataset": "Dataset900_Archive"}, "prostate_0")
    assert other.validation == []
    assert "does not say which scans were learned from" in "".join(other.warnings(0))


def test_only_images_of_a_seen_shape_are_read_and_only_once(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert raw.is_dir()
    read: list[str] = []
    original = raw_scan_keys._read_key

    def spy(reader: Any, case: str, files: Sequence[Path]) -> str:
        read.append(case)
        return original(reader, case, files)

    monkeypatch.setattr(raw_scan_keys, "_read_key", spy)
    facts = {"dataset": "Dataset900_Archive", "scans": [key(SCANS["prostate_3"])]}
    assert find(tmp_path, facts, *SCANS).validation == ["prostate_3"]
    assert sorted(read) == ["prostate_3", "unseen"], "prostate_3 and unseen have nine slices"
    assert find(tmp_path, facts, *SCANS).validation == ["prostate_3"]
    assert len(read) == 2
    changed = sitk.GetImageFromArray(np.zeros((9, 20, 24), dtype=np.float32))
    sitk.WriteImage(changed, str(raw / "imagesTr" / "prostate_3_0000.nii.gz"))
    assert find(tmp_path, facts, *SCANS).validation == []
    assert read[2:] == ["prostate_3"]


def test_missing_raw_images_are_told_and_names_still_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    facts = {"dataset": DATASET, "cases": {"prostate_0": "ab"}, "scans": ["9x20x24:ab"]}
    leaks = find(tmp_path, facts, "prostate_0")
    assert leaks.validation == ["prostate_0"]
    assert "could not be checked: the raw images of Dataset005_Prostate are not here" in leaks.warnings(0)[1]
