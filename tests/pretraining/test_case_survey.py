"""The pass over all cases: hashes of voxels, a cache that notices changes, and broken cases named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import blosc2
import numpy as np
import pytest

from nnunet_genesis.errors import DataError
from nnunet_genesis.plans import PlannedConfiguration, load_planned_configuration
from nnunet_genesis.pretraining import case_samples, case_survey
from nnunet_genesis.pretraining.case_samples import sample_intensities
from nnunet_genesis.pretraining.case_survey import CaseRecord, survey_cases
from nnunet_genesis.pretraining.foreground import decode_map
from nnunet_genesis.pretraining.sources import Source
from nnunet_genesis.scans.voxel_hash import hash_voxels
from tests.indices import written_index
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from pathlib import Path


def survey(tmp_path: Path) -> dict[str, CaseRecord]:
    planned = load_planned_configuration("777")
    cases = sorted(file.name.removesuffix(".pkl") for file in planned.cases_folder.glob("*.pkl"))
    return survey_cases(planned, cases, tmp_path / "kept" / "cases.json", workers=2, show_progress=False)


def spy_on_reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets the names of the cases that are read from now on."""
    read: list[str] = []
    original = case_survey._survey_case

    def spy(planned: PlannedConfiguration, case: str) -> CaseRecord:
        read.append(case)
        return original(planned, case)

    monkeypatch.setattr(case_survey, "_survey_case", spy)
    return read


def test_hash_is_of_the_voxels_whatever_the_file_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = smooth_cases(2, (8, 16, 16))
    hashes = []
    for file_format in ("b2nd", "npz", "npy"):
        write_dataset(tmp_path / file_format, cases, (8, 16, 16), monkeypatch, file_format=file_format)
        hashes.append({case: record.sha256 for case, record in survey(tmp_path / file_format).items()})
    assert hashes[0] == hashes[1] == hashes[2]
    assert hashes[0]["case_001"] == hash_voxels(cases["case_001"])


def test_unchanged_cases_are_not_read_again_and_changed_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path, smooth_cases(3, (8, 16, 16)), (8, 16, 16), monkeypatch) / "nnUNetPlans_cases"
    first = survey(tmp_path)
    read = spy_on_reading(monkeypatch)
    assert survey(tmp_path) == first
    assert read == []
    (folder / "case_001.b2nd").unlink()
    blosc2.asarray(np.ones((1, 8, 16, 16), dtype=np.float32), urlpath=str(folder / "case_001.b2nd"))
    second = survey(tmp_path)
    assert read == ["case_001"]
    assert second["case_001"].sha256 != first["case_001"].sha256
    kept = tmp_path / "kept" / "cases.json"
    kept.write_text("{broken")
    assert survey(tmp_path) == second
    assert sorted(json.loads(kept.read_text())) == ["case_000", "case_001", "case_002"]


def test_what_was_read_before_a_broken_case_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(tmp_path, smooth_cases(3, (8, 16, 16)), (8, 16, 16), monkeypatch) / "nnUNetPlans_cases"
    whole = (folder / "case_002.b2nd").read_bytes()
    (folder / "case_002.b2nd").write_bytes(whole[:100])
    with pytest.raises(DataError):
        survey(tmp_path)
    (folder / "case_002.b2nd").write_bytes(whole)
    read = spy_on_reading(monkeypatch)
    assert len(survey(tmp_path)) == 3
    assert read == ["case_002"]


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1, 8, 16, 2**63]},
        {"shape": [1, 8, 16, 2**31]},
        {"shape": [1, 8, 16, 0]},
        {"shape": [1, 8, 16, True]},
        {"shape": "1234"},
        {"sha256": 5},
        {"file": "../case_000.b2nd"},
        {"file": None},
        {"foreground": "AAAA"},
    ],
)
def test_kept_records_that_no_case_has_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    write_dataset(tmp_path, smooth_cases(1, (8, 16, 16)), (8, 16, 16), monkeypatch)
    first = survey(tmp_path)
    kept = tmp_path / "kept" / "cases.json"
    content = json.loads(kept.read_text())
    content["case_000"] |= change
    kept.write_text(json.dumps(content))
    assert survey(tmp_path) == first
    assert CaseRecord(**json.loads(kept.read_text())["case_000"]) == first["case_000"]


def test_a_part_of_the_cases_leaves_what_is_known_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path, smooth_cases(3, (8, 16, 16)), (8, 16, 16), monkeypatch)
    planned, kept = load_planned_configuration("777"), tmp_path / "cases.json"
    for cases in (["case_000", "case_001"], ["case_002"], ["case_001"]):
        survey_cases(planned, cases, kept, workers=1, show_progress=False)
    assert sorted(json.loads(kept.read_text())) == ["case_000", "case_001", "case_002"]


def test_folder_that_cannot_be_written_is_told_and_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_dataset(tmp_path, smooth_cases(2, (8, 16, 16)), (8, 16, 16), monkeypatch)
    (tmp_path / "kept").write_text("a file where a folder should be")
    assert sorted(survey(tmp_path)) == ["case_000", "case_001"]
    assert "all cases will be read again the next time" in caplog.text


def test_foreground_map_is_of_the_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.full((1, 8, 16, 16), -1, dtype=np.float32)
    image[:, :4] = np.linspace(1, 2, 1024).reshape(4, 16, 16)
    write_dataset(tmp_path, {"case_000": image}, (8, 16, 16), monkeypatch)
    cells = decode_map(survey(tmp_path)["case_000"].foreground)
    assert (cells[:4] == 255).all()
    assert not cells[4:].any()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((1, 8, 16, 16), np.nan, dtype=np.float32), "NaN or infinite"),
        (np.zeros((3, 8, 16, 16), dtype=np.float32), r"shape \(3, 8, 16, 16\), expected 1 channels"),
    ],
)
def test_broken_case_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    message: str,
) -> None:
    folder = write_dataset(tmp_path, smooth_cases(2, (8, 16, 16)), (8, 16, 16), monkeypatch) / "nnUNetPlans_cases"
    (folder / "case_001.b2nd").unlink()
    blosc2.asarray(image, urlpath=str(folder / "case_001.b2nd"))
    with pytest.raises(DataError, match=message) as raised:
        survey(tmp_path)
    assert "case_001" in str(raised.value)
    assert "nnUNetv2_preprocess -d 777" in str(raised.value)


def test_sampled_intensities_are_voxels_with_their_channels_kept_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {name: np.concatenate([image, image + 100]) for name, image in smooth_cases(3, (8, 16, 16)).items()}
    folder = write_dataset(tmp_path, cases, (8, 16, 16), monkeypatch) / "nnUNetPlans_cases"
    index = written_index(folder, cases)
    source = Source("labelled", "labelled cases", index, index, (), (), chance=1.0)
    samples = sample_intensities([source], np.random.default_rng(0), workers=2)
    again = sample_intensities([source], np.random.default_rng(0), workers=1)
    assert all(np.array_equal(first, second) for first, second in zip(samples, again, strict=True))
    assert [sample.shape for sample in samples] == [(2, 2048)] * 3
    for sample in samples:
        np.testing.assert_allclose(sample[1] - sample[0], 100, rtol=1e-5)


def test_large_cases_are_sampled_in_cubes_with_the_same_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = smooth_cases(8, (40, 80, 80))
    folder = write_dataset(tmp_path, cases, (8, 16, 16), monkeypatch) / "nnUNetPlans_cases"
    index = written_index(folder, cases)
    source = Source("labelled", "labelled cases", index, index, (), (), chance=1.0)
    ranges = []
    for limit in (10**9, 1000):
        monkeypatch.setattr(case_samples, "LARGE_CASE", limit)
        voxels = np.concatenate(sample_intensities([source], np.random.default_rng(0), workers=1), axis=1)
        assert voxels.shape[1] == pytest.approx(8 * 20_000, rel=0.05)
        ranges.append(np.percentile(voxels, (0.5, 50, 99.5)))
    np.testing.assert_allclose(ranges[0], ranges[1], atol=0.25)  # the voxels have unit variance
