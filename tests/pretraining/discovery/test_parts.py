"""The parts of self-discovery, against independent references."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_genesis.pretraining.discovery import autoencoder
from nnunet_genesis.pretraining.discovery.autoencoder import learn_features
from nnunet_genesis.pretraining.discovery.boxes import measure_box
from nnunet_genesis.pretraining.discovery.geometry import distances, express_place, find_centres
from nnunet_genesis.pretraining.discovery.neighbours import NeighbourSearch
from nnunet_genesis.pretraining.discovery.thumbnails import SIDE, make_thumbnail
from tests.preprocessed import smooth_cases


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
