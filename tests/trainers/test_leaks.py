"""Leaks are found by names and by voxels, and images that cannot match are not even read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_genesis import raw_scan_keys
from nnunet_genesis.errors import SetupError
from nnunet_genesis.hub_upload import without_case_names
from nnunet_genesis.scans.voxel_hash import scan_key
from nnunet_genesis.trainers.leaks import (
    REFUSE_VARIABLE,
    VALIDATION_FOUND,
    VALIDATION_ONLY,
    Leaks,
    find_leaks,
    refuse_leaks,
)

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


def facts_of(dataset: str, *scans: str) -> dict[str, Any]:
    """What a file says that saw these scans and knows all of them by their voxels."""
    return {"dataset": dataset, "sources": [{"name": "archive", "own": False, "num_without_key": 0}], "scans": scans}


def key(image: npt.NDArray[np.float32]) -> str:
    """Key of a scan that another tool stored with rows and slices turned around."""
    return scan_key(image[:, ::-1, :, ::-1])


def test_scans_of_another_dataset_are_recognised_by_their_voxels(raw: Path, tmp_path: Path) -> None:
    assert raw.is_dir()
    facts = facts_of("Dataset900_Archive", key(SCANS["prostate_2"]), key(TEST["seen"]))
    leaks = find(tmp_path, facts, "prostate_1", "prostate_2")
    assert (leaks.validation, leaks.test) == (["prostate_2"], ["seen"])
    first, second = leaks.warnings(3)  # and nothing that could not be checked
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

    def spy(reader: Any, files: Sequence[Path]) -> tuple[str | None, str]:
        read.append(files[0].name.removesuffix("_0000.nii.gz"))
        return original(reader, files)

    monkeypatch.setattr(raw_scan_keys, "_read_key", spy)
    facts = facts_of("Dataset900_Archive", key(SCANS["prostate_3"]))
    assert find(tmp_path, facts, *SCANS).validation == ["prostate_3"]
    assert sorted(read) == ["prostate_3", "unseen"], "prostate_3 and unseen have nine slices"
    assert find(tmp_path, facts, *SCANS).validation == ["prostate_3"]
    assert len(read) == 2
    changed = sitk.GetImageFromArray(np.zeros((9, 20, 24), dtype=np.float32))
    for channel in range(2):
        sitk.WriteImage(changed, str(raw / "imagesTr" / f"prostate_3_{channel:04d}.nii.gz"))
    assert find(tmp_path, facts, *SCANS).validation == []
    assert read[2:] == ["prostate_3"]


def test_missing_raw_images_are_told_and_names_still_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    facts = {**facts_of(DATASET, "9x20x24:ab"), "cases": {"prostate_0": "ab"}}
    leaks = find(tmp_path, facts, "prostate_0")
    assert leaks.validation == ["prostate_0"]
    assert "imagesTr: the raw images of Dataset005_Prostate are not here" in leaks.warnings(0)[1]


def test_one_channel_that_was_seen_alone_is_a_leak_and_an_empty_one_is_not(raw: Path, tmp_path: Path) -> None:
    assert raw.is_dir()
    facts = facts_of("Dataset900_Archive", key(SCANS["prostate_1"][1:]))
    assert find(tmp_path, facts, *SCANS).validation == ["prostate_1"]
    empty = np.zeros((2, 7, 20, 24), dtype=np.float32)
    empty[0] = SCANS["prostate_1"][0]
    missing_channel = facts_of("Dataset900_Archive", key(np.zeros_like(empty)))
    for channel, volume in enumerate(empty):
        sitk.WriteImage(sitk.GetImageFromArray(volume), str(raw / "imagesTr" / f"prostate_1_{channel:04d}.nii.gz"))
    assert find(tmp_path, missing_channel, *SCANS).validation == []


def test_names_count_where_the_dataset_was_another_source(raw: Path, tmp_path: Path) -> None:
    assert raw.is_dir()
    source = {"name": DATASET, "own": False, "num_without_key": 2}
    facts = {"dataset": "Dataset900_Archive", "sources": [source], "cases": {f"{DATASET}/prostate_0": "ab"}}
    leaks = find(tmp_path, facts, "prostate_0", "prostate_1")
    assert leaks.validation == ["prostate_0"]
    assert f"2 case(s) of the source {DATASET} are known by their names alone" in leaks.warnings(0)[1]


@pytest.mark.parametrize("sources", [None, [{"name": DATASET, "own": True, "num_without_key": 2}]])
def test_a_file_that_was_pushed_without_names_and_keys_is_not_taken_for_clean(
    raw: Path, tmp_path: Path, sources: list[dict[str, Any]] | None
) -> None:
    assert raw.is_dir()
    cases = {"prostate_0": "ab" * 32, "prostate_1": "cd" * 32}
    facts = {"dataset": DATASET, "cases": cases, "validation_cases": {}, "sources": sources}
    leaks = find(tmp_path, facts, "prostate_0")
    assert (leaks.validation, leaks.unchecked) == (["prostate_0"], [])
    leaks = find(tmp_path, without_case_names(facts), "prostate_0")
    assert leaks.validation == []
    expected = "does not say which scans" if sources is None else r"2 case\(s\) .* because it was pushed to the Hub"
    assert re.search(expected, leaks.warnings(0)[0])


def test_a_missing_image_hides_no_leak_and_is_told(raw: Path, tmp_path: Path) -> None:
    for file in (raw / "imagesTr").glob("prostate_1_*"):
        file.unlink()
    leaks = find(tmp_path, facts_of("Dataset900_Archive", key(SCANS["prostate_2"])), *SCANS)
    assert leaks.validation == ["prostate_2"]
    assert leaks.unchecked == [
        "1 image(s) of imagesTr cannot be read, the first is prostate_1: there is no raw image of it in imagesTr"
    ]


@pytest.mark.parametrize("damage", ["link to nothing", "junk of a Mac", "truncated"])
def test_a_broken_image_hides_no_leak_and_is_told(raw: Path, tmp_path: Path, damage: str) -> None:
    test_file = raw / "imagesTs" / "seen_0000.nii.gz"
    if damage == "link to nothing":
        (raw / "imagesTs" / "gone_0000.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    elif damage == "junk of a Mac":
        (raw / "imagesTs" / "._seen_0000.nii.gz").write_bytes(b"junk" * 1000)
    else:
        test_file.write_bytes(test_file.read_bytes()[:-500])
    facts = facts_of("Dataset900_Archive", key(SCANS["prostate_2"]), key(TEST["seen"]))
    leaks = find(tmp_path, facts, *SCANS)
    assert leaks.validation == ["prostate_2"]
    assert leaks.test == ([] if damage == "truncated" else ["seen"])
    assert leaks.unchecked == []
    told = "".join(leaks.unchecked_test)
    assert told in "".join(leaks.warnings(0))
    expected = {"link to nothing": "the first is gone", "junk of a Mac": "", "truncated": "the first is seen: damaged"}
    assert told == "" if damage == "junk of a Mac" else expected[damage] in told


@pytest.mark.parametrize("leaks", [Leaks(["a"]), Leaks(test=["b"]), Leaks(["a"], unchecked=["no raw images"])])
def test_benchmarks_can_have_leaks_refused(monkeypatch: pytest.MonkeyPatch, leaks: Leaks) -> None:
    monkeypatch.delenv(REFUSE_VARIABLE, raising=False)
    refuse_leaks(leaks, 2)
    monkeypatch.setenv(REFUSE_VARIABLE, "1")
    refuse_leaks(Leaks(), 2)
    with pytest.raises(SetupError, match="nnUNet_genesis_refuse_leaks is set") as raised:
        refuse_leaks(leaks, 2)
    assert "--exclude-fold 2" in str(raised.value)
    with pytest.raises(SetupError, match="pretrain without --imagesTs, or unset"):
        refuse_leaks(leaks, "all")
    monkeypatch.setenv(REFUSE_VARIABLE, "0")
    refuse_leaks(leaks, 2)
    monkeypatch.setenv(REFUSE_VARIABLE, "yes")
    with pytest.raises(SetupError, match="nnUNet_genesis_refuse_leaks is 'yes'"):
        refuse_leaks(Leaks(), 2)


def test_what_could_not_be_checked_is_mended_by_no_other_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    monkeypatch.setenv(REFUSE_VARIABLE, "1")
    leaks = find(tmp_path, facts_of("Dataset900_Archive", key(SCANS["prostate_2"])), "prostate_2")
    with pytest.raises(SetupError, match=r"to mend it: export nnUNet_raw=") as raised:
        refuse_leaks(leaks, 2)
    assert "mend what could not be checked and start again" in str(raised.value.mend)
    assert "--exclude-fold" not in str(raised.value)


@pytest.mark.parametrize("leaks", [Leaks(["a"]), Leaks(unchecked=["no raw images"])])
def test_where_imagests_is_not_judged_on_it_is_no_reason_to_refuse(
    monkeypatch: pytest.MonkeyPatch, leaks: Leaks
) -> None:
    monkeypatch.setenv(REFUSE_VARIABLE, VALIDATION_ONLY)
    of_test = {"test": ["b"], "unchecked_test": ["1 image(s) of imagesTs cannot be read"]}
    refuse_leaks(Leaks(**of_test), 2)
    with pytest.raises(SetupError, match=r"could not be fully checked|saw 1 validation case") as raised:
        refuse_leaks(replace(leaks, **of_test), 2)
    assert "imagesTs" not in str(raised.value)
    monkeypatch.setenv(REFUSE_VARIABLE, VALIDATION_FOUND)
    refuse_leaks(Leaks(unchecked=["no raw images"], **of_test), 2)
    with pytest.raises(SetupError, match="saw 1 validation case"):
        refuse_leaks(Leaks(["a"], unchecked=["no raw images"], **of_test), 2)
    monkeypatch.setenv(REFUSE_VARIABLE, "1")
    with pytest.raises(SetupError, match="imagesTs cannot be read"):
        refuse_leaks(Leaks(unchecked_test=of_test["unchecked_test"]), 2)


def test_broken_description_of_the_raw_dataset_is_told(raw: Path, tmp_path: Path) -> None:
    (raw / "dataset.json").write_text("{broken")
    leaks = find(tmp_path, facts_of("Dataset900_Archive", key(SCANS["prostate_2"])), "prostate_2")
    assert "dataset.json of the raw images cannot be used (JSONDecodeError" in leaks.unchecked[0]
