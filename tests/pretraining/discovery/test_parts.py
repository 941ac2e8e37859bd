"""The parts of self-discovery, against independent references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from nnunet_genesis.pretraining.case_files import read_whole
from nnunet_genesis.pretraining.discovery import autoencoder
from nnunet_genesis.pretraining.discovery.autoencoder import learn_features
from nnunet_genesis.pretraining.discovery.boxes import measure_box
from nnunet_genesis.pretraining.discovery.crop_reading import read_crop, read_resized
from nnunet_genesis.pretraining.discovery.geometry import distances, express_place, find_centres
from nnunet_genesis.pretraining.discovery.neighbours import NeighbourSearch
from nnunet_genesis.pretraining.discovery.resampling import resample, resampling_weights
from nnunet_genesis.pretraining.discovery.thumbnails import SIDE, make_thumbnail
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("length", [1, 7, 32, 100])
def test_resizing_is_that_of_torch_with_anti_aliasing(length: int) -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, length, 50)).astype(np.float32))
    weights = [resampling_weights(0, side / new, new, range(side)) for side, new in ((1, 1), (length, 32), (50, 20))]
    expected = torch.nn.functional.interpolate(image[:, 0][None], (32, 20), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(resample(image, weights)[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_the_box_ignores_a_few_bright_voxels_of_noise() -> None:
    mask = np.zeros((20, 60, 50), dtype=bool)
    mask[4:16, 10:40, 20:45] = True
    assert measure_box(mask).tolist() == [[4, 16], [10, 40], [20, 45]]
    mask |= np.random.default_rng(0).random(mask.shape) < 0.003
    assert measure_box(mask).tolist() == [[4, 16], [10, 40], [20, 45]]
    assert measure_box(np.zeros((1, 5, 7), dtype=bool)).tolist() == [[0, 1], [0, 5], [0, 7]]


@pytest.mark.parametrize("shape", [(16, 256, 256), (1, 40, 9), (3, 5, 4)])
def test_thumbnails_are_standardised_pictures_of_the_box(shape: tuple[int, int, int]) -> None:
    generator = np.random.default_rng(0)
    inner = 1e5 * generator.normal(size=(4, *shape)).astype(np.float32)
    inner[3] = 7
    padded = np.pad(inner, ((0, 0), (2, 3), (4, 1), (0, 5)), constant_values=-3e6)
    box = np.array([(2, 2 + shape[0]), (4, 4 + shape[1]), (0, shape[2])], dtype=np.int32)
    small = make_thumbnail(padded, box).astype(np.float32)
    assert small.shape == (4, SIDE, SIDE, SIDE)
    assert np.isfinite(small).all()
    assert (small[3] == 0).all(), "a constant channel"
    np.testing.assert_allclose(small[:3].mean((1, 2, 3)), 0, atol=1e-2)
    np.testing.assert_allclose(small[:3].std((1, 2, 3)), 1, atol=1e-2)


@pytest.mark.parametrize("spacing", [(3.0, 1.0, 0.5), (1.0, 0.5)])
def test_a_place_is_found_again_where_it_was_drawn(spacing: tuple[float, ...]) -> None:
    box = np.array([(3, 20), (0, 33), (10, 50)], dtype=np.int32)
    centre = np.array([5.5, 30.0, 12.25])
    place = express_place(box, centre, spacing)
    np.testing.assert_allclose(find_centres(box, place, spacing), centre)
    moved = find_centres(box + np.array([[1], [2], [3]], dtype=np.int32), place, spacing)
    np.testing.assert_allclose(moved, centre + np.array([1, 2, 3]))
    if len(spacing) == 3:
        assert place == ((5.5 - 11.5) * 3, 30 - 16.5, (12.25 - 30) * 0.5)
        assert distances(place, [place, (place[0], place[1] + 8, place[2])], (4, 16, 8), spacing).tolist() == [0, 0.5]
    else:
        assert place == (2.5 / 17, 13.5, (12.25 - 30) * 0.5)


@pytest.mark.parametrize("first", [(0, 0, 0), (-3, 30, 5), (6, -10, 28), (50, 0, 0), (-9, 0, 0)])
def test_crops_are_what_slicing_the_padded_scan_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[int, int, int]
) -> None:
    case = smooth_cases(1, (10, 40, 36), channels=2)
    file = write_dataset(tmp_path, case, (8, 16, 16), monkeypatch) / "nnUNetPlans_cases" / "case_000.b2nd"
    whole, size = read_whole(file), (8, 16, 12)
    padded = np.pad(whole, ((0, 0), (60, 60), (60, 60), (60, 60)))
    part = tuple(slice(60 + start, 60 + start + side) for start, side in zip(first, size, strict=True))
    crop, inside = read_crop(file, (10, 40, 36), first, size)
    np.testing.assert_array_equal(crop.numpy(), padded[(slice(None), *part)])
    shown = np.pad(np.ones(whole.shape[1:]), 60)[part]
    mask = np.zeros(size)
    mask[tuple(slice(a, b) for a, b in inside)] = 1
    np.testing.assert_array_equal(mask, shown)
    same, same_inside = read_resized(file, (10, 40, 36), [float(start) for start in first], (1.0, 1.0, 1.0), size)
    torch.testing.assert_close(same, crop, atol=1e-6, rtol=0)
    assert same_inside == inside


def test_resized_crops_are_padding_where_the_scan_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = {"case_000": np.ones((1, 6, 20, 20), dtype=np.float32)}
    file = write_dataset(tmp_path, case, (4, 8, 8), monkeypatch) / "nnUNetPlans_cases" / "case_000.b2nd"
    crop, inside = read_resized(file, (6, 20, 20), (0.0, -2.1, 10.5), (1.0, 1.25, 0.75), (4, 8, 16))
    # Along y, voxel 0 covers [-2.1, -0.85] and voxel 1 [-0.85, 0.4]; along x, 12 voxels of 0.75 end at 19.5.
    assert inside == [(0, 4), (2, 8), (0, 12)]
    expected = torch.zeros(1, 4, 8, 16)
    expected[0, :, 2:, :12] = 1
    torch.testing.assert_close(crop, expected)


def test_the_nearest_scans_are_those_of_a_plain_search() -> None:
    features = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    features[7] = features[3]
    search = NeighbourSearch(features, 40)
    distance = np.linalg.norm(features - features[7], axis=1)
    assert search.train(7, 10)[0] == 7, "the reference comes first, also beside an equal scan"
    assert search.train(7, 10)[1:] == [
        scan for scan in np.argsort(distance[:40], kind="stable")[:10].tolist() if scan != 7
    ]
    assert search.held_out(7, 4) == (40 + np.argsort(distance[40:])[:4]).tolist()
    assert len(search.train(7, 99)) == 40


def test_the_autoencoder_tells_kinds_of_scans_apart_and_beats_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kinds of scans, each a random mixture of its own three patterns: a feature must tell which."""
    monkeypatch.setattr(autoencoder, "EPOCHS", 1)
    monkeypatch.setattr(autoencoder, "MIN_STEPS", 100)
    generator = np.random.default_rng(0)
    patterns = np.stack(list(smooth_cases(6, (SIDE, SIDE, SIDE), seed=1).values())).reshape(2, 3, -1)
    kinds = np.arange(60) % 2
    scans = np.einsum("np,npv->nv", 1 + 0.3 * generator.normal(size=(60, 3)), patterns[kinds])
    scans = (scans / scans.std(1, keepdims=True)).astype(np.float16).reshape(60, 1, SIDE, SIDE, SIDE)
    features, errors = learn_features(scans, 50, 0, show_progress=False)
    assert errors.autoencoder < 0.7 * errors.mean_image
    search = NeighbourSearch(features, 50)
    for reference in (0, 1):
        assert {int(kinds[scan]) for scan in search.train(reference, 15)} == {reference}
        assert int(kinds[search.held_out(reference, 1)[0]]) == reference


def test_the_autoencoder_never_learns_from_held_out_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other held-out scans leave the features of training scans as they are, to the bit."""
    monkeypatch.setattr(autoencoder, "EPOCHS", 1)
    monkeypatch.setattr(autoencoder, "MIN_STEPS", 3)
    generator = np.random.default_rng(0)
    scans, others = generator.normal(size=(2, 12, 1, SIDE, SIDE, SIDE)).astype(np.float16)
    others[:9] = scans[:9]
    features, _ = learn_features(scans, 9, 0, show_progress=False)
    again, _ = learn_features(others, 9, 0, show_progress=False)
    np.testing.assert_array_equal(features[:9], again[:9])
    assert not np.allclose(features[9:], again[9:])
