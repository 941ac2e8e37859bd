"""1,000 pairs beside 1,000 of the plain reference: as many voxels change, windows are as large, curves as steep."""

from __future__ import annotations

import itertools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from nnunet_genesis.config import ModelsGenesisConfig
from nnunet_genesis.pretraining.distortions.intensity import apply_intensity_curves, sample_intensity_curves
from nnunet_genesis.pretraining.distortions.shuffling import sample_shuffling
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from tests.pretraining.distortions import reference
from tests.pretraining.distortions.units import unit_range

pytestmark = pytest.mark.slow

SIZE = (64, 64, 32)
PAIRS = 1000
FloatArray = npt.NDArray[np.float64]


def numbered() -> FloatArray:
    """Every voxel holds a number of its own, above all noise."""
    return np.arange(10.0, 10.0 + np.prod(SIZE)).reshape(1, *SIZE)


def reference_share_changed(seed: int) -> tuple[bool, float]:
    """Whether a pair of the reference was shuffled, and its share of voxels that changed; curves left out."""
    rng = np.random.default_rng([22, seed])
    clean = numbered()
    shuffled = bool(rng.random() < 0.5)
    distorted = reference.shuffle(clean, rng) if shuffled else clean
    _, painted = reference.paint(SIZE, rng)
    return shuffled, float((painted | (distorted[0] != clean[0])).mean())


@pytest.fixture(scope="module")
def theirs() -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """500 times 10,000 windows: two processes."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        shuffled, share = zip(*pool.map(reference_share_changed, range(PAIRS), chunksize=50), strict=True)
    return np.array(shuffled), np.array(share)


@pytest.fixture(scope="module")
def ours() -> tuple[npt.NDArray[np.bool_], FloatArray]:
    config = replace(ModelsGenesisConfig(), intensity_probability=0)
    pretext = ModelsGenesis(config, SIZE, IntensityRange((0.0,), (1.0,), (False,)))
    parameters = pretext.sample(PAIRS, torch.Generator().manual_seed(22))
    patch, inside = torch.from_numpy(numbered())[None].float(), torch.tensor([[[0, side] for side in SIZE]])
    share = []
    for number in range(PAIRS):
        pair = pretext.make_pairs(patch, inside, parameters.select(slice(number, number + 1)))
        share.append((pair.distorted != pair.target).float().mean().item())
    return parameters.shuffling.applied.numpy(), np.array(share)


@pytest.mark.parametrize(("shuffled", "tolerance"), [(False, 0.05), (True, 0.03)])
def test_as_many_voxels_change(
    ours: tuple[npt.NDArray[np.bool_], FloatArray],
    theirs: tuple[npt.NDArray[np.bool_], FloatArray],
    shuffled: bool,
    tolerance: float,
) -> None:
    """Means of about 500 pairs each; a standard error of their difference is 0.02 without shuffling, 0.006 with it."""
    means = [share[happened == shuffled].mean() for happened, share in (ours, theirs)]
    assert means[0] == pytest.approx(means[1], abs=tolerance)


@pytest.mark.parametrize(("shuffled", "tolerance"), [(False, 0.05), (True, 0.1)])
def test_the_share_of_changed_voxels_is_spread_alike(
    ours: tuple[npt.NDArray[np.bool_], FloatArray],
    theirs: tuple[npt.NDArray[np.bool_], FloatArray],
    shuffled: bool,
    tolerance: float,
) -> None:
    """Quantiles; shuffling varies more from pair to pair than in the reference, as a patch has two window shapes only.

    At 0.1 and 0.28 there are gaps: between pairs without painting, with in-painting, and with out-painting.
    """
    levels = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
    quantiles = [np.quantile(share[happened == shuffled], levels) for happened, share in (ours, theirs)]
    np.testing.assert_allclose(quantiles[0], quantiles[1], rtol=0, atol=tolerance)


def test_windows_have_the_sizes_of_the_reference() -> None:
    """Share of the windows that have each side, per axis: within 0.03 of what 10,000 windows of the reference have."""
    parameters = sample_shuffling(PAIRS, SIZE, torch.Generator().manual_seed(23), probability=1.0)
    rng = np.random.default_rng(23)
    counts = [np.zeros(side // 10 + 1) for side in SIZE]
    for bands, windows, offsets in zip(
        parameters.bands.tolist(), parameters.windows.tolist(), parameters.offsets.tolist(), strict=True
    ):
        for (start, stop), window, offset in zip(itertools.pairwise(bands), windows, offsets, strict=True):
            lengths = (stop - start, *SIZE[1:])
            tiles = [max(0, (n - o) // w) for n, o, w in zip(lengths, offset, window, strict=True)]
            for axis, side in enumerate(window):
                counts[axis][side] += np.prod(tiles)
    for axis, side in enumerate(SIZE):
        expected = np.bincount([reference.integer(rng, 1, side // 10) for _ in range(10_000)], minlength=side // 10 + 1)
        np.testing.assert_allclose(counts[axis] / counts[axis].sum(), expected / expected.sum(), atol=0.03)


@pytest.mark.parametrize("place", [0.02, 0.25, 0.5, 0.75, 0.98])
def test_curves_are_as_steep_as_those_of_the_reference(place: float) -> None:
    """Slopes of 1,000 curves each, over 2 % of the range: two-sample Kolmogorov-Smirnov, p > 0.001."""
    ends = np.array([place - 0.01, place + 0.01])
    rng = np.random.default_rng(24)
    falls = rng.random(PAIRS) < 0.5
    theirs = [np.diff(reference.bezier(ends, rng.random((2, 2)), decreasing=bool(fall)))[0] for fall in falls]
    curves = sample_intensity_curves(PAIRS, 1, torch.Generator().manual_seed(24), probability=1.0)
    values = torch.from_numpy(ends).float().view(1, 1, 2, 1, 1).expand(PAIRS, -1, -1, -1, -1)
    ours = apply_intensity_curves(values, curves, unit_range(1))[:, 0, :, 0, 0].double().diff(dim=1)[:, 0].numpy()
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
