"""Patches: nnU-Net's padding rule, any file format, no segmentation opened, and determinism."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nnunet_genesis.errors import DataError
from nnunet_genesis.pretraining.case_files import open_case, read_part
from nnunet_genesis.pretraining.data import PatchDataset, StepSampler, build_loader
from tests.indices import written_index
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from pathlib import Path


def patches(
    folder: Path, cases: dict[str, npt.NDArray[np.float32]], patch_size: tuple[int, ...], *, max_background: float = 1.0
) -> PatchDataset:
    index = written_index(folder / "nnUNetPlans_cases", cases, background_below=-2)
    return PatchDataset([index], [1.0], patch_size, max_background_share=max_background, seed=(5, 3))


@pytest.mark.parametrize("file_format", ["b2nd", "npz", "npy"])
def test_every_format_gives_the_same_patches_without_the_segmentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    cases = smooth_cases(3, (16, 40, 40), channels=2)
    folder = write_dataset(tmp_path, cases, (8, 32, 32), monkeypatch, file_format=file_format)
    for segmentation in [*folder.glob("**/*_seg.b2nd"), *folder.glob("**/*_seg.npy")]:
        segmentation.unlink()
    dataset = patches(folder, cases, (8, 32, 32))
    for index in range(5):
        patch, inside, _ = dataset[index]
        assert patch.shape == (2, 8, 32, 32)
        assert inside.tolist() == [[0, 8], [0, 32], [0, 32]]
        assert any(contains(image, patch.numpy()) for image in cases.values())


def contains(image: npt.NDArray[np.float32], patch: npt.NDArray[np.float32]) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(image[0], patch.shape[1:])
    starts = np.argwhere(windows[..., 0, 0, 0] == patch[0, 0, 0, 0])
    return any(
        np.array_equal(image[:, z : z + patch.shape[1], y : y + patch.shape[2], x : x + patch.shape[3]], patch)
        for z, y, x in starts
    )


def test_padding_follows_nnunets_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

    cases = smooth_cases(1, (5, 20, 33))
    folder = write_dataset(tmp_path, cases, (8, 32, 32), monkeypatch)
    dataset = patches(folder, cases, (8, 32, 32))
    ours = set()
    for index in range(300):
        patch, inside, _ = dataset[index]
        box = tuple(slice(start, stop) for start, stop in inside.tolist())
        assert patch[0][box].shape == (5, 20, 32)
        assert patch[0].count_nonzero() == patch[0][box].count_nonzero(), "padding is zero"
        ours.add((box[0].start, box[1].start))

    loader = nnUNetDataLoader.__new__(nnUNetDataLoader)
    loader.need_to_pad, loader.patch_size, loader.has_ignore = np.zeros(3, dtype=int), (8, 32, 32), False
    np.random.seed(0)  # noqa: NPY002  nnU-Net draws from the global generator
    theirs = set()
    for _ in range(300):
        lower, _ = loader.get_bbox(np.array((5, 20, 33)), False, None)
        theirs.add((-int(lower[0]), -int(lower[1])))
    assert ours == theirs


def test_patch_is_a_function_of_seed_and_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = smooth_cases(4, (8, 40, 40))
    folder = write_dataset(tmp_path, cases, (8, 16, 16), monkeypatch)
    first, again = patches(folder, cases, (8, 16, 16)), patches(folder, cases, (8, 16, 16))
    assert torch.equal(first[7][0], again[7][0])
    assert not torch.equal(first[7][0], first[8][0])
    again.seed = (6, 3)
    assert not torch.equal(first[7][0], again[7][0])


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    cases = smooth_cases(4, (8, 40, 40))
    folder = write_dataset(tmp_path, cases, (8, 16, 16), monkeypatch)
    dataset = patches(folder, cases, (8, 16, 16))
    alone = list(build_loader(dataset, StepSampler(0, 5, 2), workers=0, pin_memory=False))
    shared = list(build_loader(dataset, StepSampler(0, 5, 2), workers=workers, pin_memory=False))
    assert len(alone) == len(shared) == 5
    for (patch, inside, _), (other_patch, other_inside, _) in zip(alone, shared, strict=True):
        assert torch.equal(patch, other_patch)
        assert torch.equal(inside, other_inside)


def test_processes_and_continued_runs_share_the_same_numbers() -> None:
    whole = list(StepSampler(0, 6, 4))
    assert [number for batch in whole for number in batch] == list(range(24))
    halves = zip(StepSampler(0, 6, 4, 0, 2), StepSampler(0, 6, 4, 1, 2), strict=True)
    assert [first + second for first, second in halves] == whole
    assert list(StepSampler(0, 2, 4)) + list(StepSampler(2, 6, 4)) == whole


def test_two_dimensional_patches_are_slices_of_the_first_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = smooth_cases(2, (7, 24, 20), channels=3)
    folder = write_dataset(tmp_path, cases, (32, 16), monkeypatch)
    dataset = patches(folder, cases, (32, 16))
    seen = set()
    for index in range(200):
        patch, box, _ = dataset[index]
        assert patch.shape == (3, 32, 16)
        inside = patch[(slice(None), *(slice(start, stop) for start, stop in box.tolist()))]
        assert inside.shape == (3, 24, 16)
        seen |= {
            z
            for image in cases.values()
            for z in range(7)
            for x in range(5)
            if np.array_equal(image[:, z, :, x : x + 16], inside.numpy())
        }
    assert seen == set(range(7))


def test_background_is_avoided_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.full((1, 8, 96, 96), -2.0, dtype=np.float32)
    image[:, :, 64:, 64:] = smooth_cases(1, (8, 32, 32))["case_000"]
    folder = write_dataset(tmp_path, {"case_000": image}, (8, 24, 24), monkeypatch)

    def mean_background(max_background: float) -> float:
        dataset = patches(folder, {"case_000": image}, (8, 24, 24), max_background=max_background)
        return float(np.mean([(dataset[index][0] == -2).float().mean() for index in range(100)]))

    anywhere, avoiding = mean_background(1.0), mean_background(0.75)
    assert anywhere > 0.75
    assert avoiding < anywhere - 0.15


def test_sources_are_drawn_by_their_chances_and_cases_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = smooth_cases(5, (4, 16, 16))
    folder = write_dataset(tmp_path, cases, (4, 8, 8), monkeypatch) / "nnUNetPlans_cases"
    few, many = written_index(folder, list(cases)[:1]), written_index(folder, list(cases)[1:])
    dataset = PatchDataset([few, many], [0.25, 0.75], (4, 8, 8), max_background_share=1.0, seed=(1,))
    places = [dataset.locate(number) for number in range(4000)]
    assert np.mean([place.source == 0 for place in places]) == pytest.approx(0.25, abs=0.03)
    shares = np.bincount([place.case for place in places if place.source == 1], minlength=4) / 3000
    np.testing.assert_allclose(shares, 0.25, atol=0.04)


def test_tiny_and_thin_cases_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(1, 5, 4), (3, 200, 2), (16, 256, 256)]
    cases = {f"case_{n}": smooth_cases(1, shape, seed=n)["case_000"] for n, shape in enumerate(shapes)}
    folder = write_dataset(tmp_path, cases, (16, 64, 64), monkeypatch)
    dataset = patches(folder, cases, (16, 64, 64), max_background=0.75)
    insides = set()
    for number in range(60):
        patch, inside, _ = dataset[number]
        assert patch.shape == (1, 16, 64, 64)
        insides.add(tuple((inside[:, 1] - inside[:, 0]).tolist()))
    assert insides == {(1, 5, 4), (3, 64, 2), (16, 64, 64)}


def test_only_touched_blocks_of_a_file_are_decompressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Destroying the bytes of far blocks must not matter to a patch that does not touch them."""
    generator = np.random.default_rng(0)
    image = generator.normal(size=(1, 64, 64, 64)).astype(np.float32)
    folder = write_dataset(tmp_path, {"case_000": image}, (16, 16, 16), monkeypatch) / "nnUNetPlans_cases"
    part = (slice(None), slice(0, 16), slice(0, 16), slice(0, 16))
    file = folder / "case_000.b2nd"
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    file.write_bytes(content)
    np.testing.assert_array_equal(read_part(open_case(file), part, file), image[part])


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing"])
def test_damaged_case_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    cases = smooth_cases(1, (8, 16, 16))
    folder = write_dataset(tmp_path, cases, (8, 16, 16), monkeypatch) / "nnUNetPlans_cases"
    file = folder / "case_000.b2nd"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 100 if damage == "truncated" else 0])
    with pytest.raises(DataError, match="case_000"):
        read_part(open_case(file), (slice(None),) * 4, file)
