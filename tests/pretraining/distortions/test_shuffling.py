"""Local pixel shuffling: a true permutation, inside small windows, of all channels together, as strong as published."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from nnunet_genesis.pretraining.distortions.shuffling import Shuffling, apply_shuffling, sample_shuffling
from tests.pretraining.distortions import reference

PUBLISHED_SIZE = (64, 64, 32)
SIZES = [(64, 64, 32), (40, 56, 40), (16, 128, 128), (1, 64, 64), (96, 80), (3, 5, 4)]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(batch_size: int, sides: tuple[int, ...]) -> torch.Tensor:
    """Every voxel holds its own number, the same in all samples; exact in single precision."""
    return (
        torch.arange(int(np.prod(sides)), dtype=torch.float32)
        .view(1, 1, *sides)
        .repeat(batch_size, 1, *[1] * len(sides))
    )


def sources(shuffled: torch.Tensor) -> npt.NDArray[np.int64]:
    """For every voxel of one numbered patch (1, *spatial), where it came from: (axes, *spatial)."""
    return np.stack(np.unravel_index(shuffled[0].long().numpy(), tuple(shuffled.shape[1:])))


def displacements(shuffled: torch.Tensor) -> npt.NDArray[np.int64]:
    return np.asarray(np.abs(sources(shuffled) - np.indices(tuple(shuffled.shape[1:]))))


def uniform_tiles(sides: tuple[int, ...], window: tuple[int, ...], coverage: float, seed: int) -> Shuffling:
    """One band, one window, no offset: only the permutations are random."""
    sampled = sample_shuffling(1, sides, generator(seed), probability=1.0, coverage=coverage)
    bands = torch.full_like(sampled.bands, sides[0])
    bands[:, 0] = 0
    windows = torch.tensor(window).expand_as(sampled.windows)
    return replace(sampled, bands=bands, windows=windows, offsets=torch.zeros_like(windows))


@pytest.mark.parametrize("sides", SIZES)
def test_every_channel_keeps_its_multiset_of_values(sides: tuple[int, ...]) -> None:
    patches = torch.randn(4, 3, *sides, generator=generator(0))
    shuffled = apply_shuffling(patches, sample_shuffling(4, sides, generator(1), probability=1.0))
    assert torch.equal(shuffled.flatten(2).sort(dim=2).values, patches.flatten(2).sort(dim=2).values)
    if max(sides) >= 20:
        assert (shuffled != patches).flatten(1).any(1).all()


@pytest.mark.parametrize("sides", SIZES)
def test_no_voxel_moves_as_far_as_the_longest_window(sides: tuple[int, ...]) -> None:
    parameters = sample_shuffling(12, sides, generator(2), probability=1.0)
    shuffled = apply_shuffling(numbered(12, sides), parameters)
    farthest = np.stack([displacements(patch).reshape(len(sides), -1).max(1) for patch in shuffled])
    sampled = parameters.windows.amax(dim=1).numpy()
    assert (farthest < sampled).all()
    assert (farthest.max(0) <= [max(1, min(side // 10, 6)) - 1 for side in sides]).all()


@pytest.mark.parametrize("sides", [(40, 56, 40), (16, 64, 64), (96, 80)])
def test_voxels_stay_inside_their_tile_and_rest_where_no_whole_tile_fits(sides: tuple[int, ...]) -> None:
    parameters = sample_shuffling(6, sides, generator(3), probability=1.0, coverage=1.0)
    for sample, shuffled in enumerate(apply_shuffling(numbered(6, sides), parameters)):
        tiles = reference.tiles(
            sides,
            parameters.bands[sample].tolist(),
            parameters.windows[sample].tolist(),
            parameters.offsets[sample].tolist(),
        )
        origin = sources(shuffled)
        np.testing.assert_array_equal(tiles[tuple(origin)], tiles)
        at_rest = (origin == np.indices(sides)).all(axis=0)
        assert at_rest[tiles == 0].all()
        _, number, count = np.unique(tiles, return_inverse=True, return_counts=True)
        large = (count[number].reshape(sides) >= 12) & (tiles > 0)
        assert not large.any() or at_rest[large].mean() < 0.15, "whole tiles are permuted"


def test_channels_move_together() -> None:
    first = torch.rand(3, 1, 40, 40, 24, generator=generator(4))
    patches = torch.cat([first, 2 * first, 1 - first], dim=1)
    shuffled = apply_shuffling(patches, sample_shuffling(3, (40, 40, 24), generator(5), probability=1.0))
    assert not torch.equal(shuffled, patches)
    assert torch.equal(shuffled[:, 1:2], 2 * shuffled[:, :1])
    assert torch.equal(shuffled[:, 2:], 1 - shuffled[:, :1])


@pytest.mark.parametrize(
    ("sides", "short_axes"), [((19, 64, 64), [0]), ((64, 64, 19), [2]), ((64, 8, 10), [1, 2]), ((64, 19), [1])]
)
def test_an_axis_below_twenty_voxels_is_left_whole(sides: tuple[int, ...], short_axes: list[int]) -> None:
    parameters = sample_shuffling(10, sides, generator(6), probability=1.0)
    for shuffled in apply_shuffling(numbered(10, sides), parameters):
        moved = displacements(shuffled).reshape(len(sides), -1).max(1)
        assert (moved[short_axes] == 0).all()
        assert moved.max() > 0, "the other axes are shuffled"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_of_twenty_voxels_is_shuffled(axis: int) -> None:
    sides = tuple(20 if a == axis else 9 for a in range(3))
    shuffled = apply_shuffling(numbered(20, sides), sample_shuffling(20, sides, generator(7), probability=1.0))
    moved = np.stack([displacements(patch).reshape(3, -1).max(1) for patch in shuffled]).max(0)
    assert moved.tolist() == [int(a == axis) for a in range(3)]


def test_only_applied_samples_change_and_the_input_never() -> None:
    sides = (32, 32, 32)
    parameters = replace(sample_shuffling(4, sides, generator(8)), applied=torch.tensor([False, True, False, True]))
    patches = torch.rand(4, 2, *sides, generator=generator(9))
    before = patches.clone()
    shuffled = apply_shuffling(patches, parameters)
    assert torch.equal(patches, before)
    assert (shuffled != patches).flatten(1).any(1).tolist() == [False, True, False, True]
    shuffled.fill_(-1)
    assert torch.equal(patches, before), "the result is new memory"


def test_half_of_the_samples_are_shuffled() -> None:
    applied = sample_shuffling(5000, (32, 32, 32), generator(10)).applied
    assert applied.double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 5000**0.5)


def test_the_same_parameters_give_the_same_result_and_another_seed_another() -> None:
    patches = numbered(2, (40, 40, 20))
    parameters = sample_shuffling(2, (40, 40, 20), generator(11), probability=1.0)
    again = sample_shuffling(2, (40, 40, 20), generator(11), probability=1.0)
    other = sample_shuffling(2, (40, 40, 20), generator(12), probability=1.0)
    shuffled = apply_shuffling(patches, parameters)
    assert torch.equal(shuffled, apply_shuffling(patches, parameters))
    assert torch.equal(shuffled, apply_shuffling(patches, again))
    assert not torch.equal(shuffled, apply_shuffling(patches, other))
    other_permutations = replace(parameters, permutation_seed=parameters.permutation_seed + 1)
    assert not torch.equal(shuffled, apply_shuffling(patches, other_permutations))


@pytest.mark.parametrize("coverage", [0.0, 0.5, 0.85, 1.0])
def test_coverage_is_the_share_of_permuted_tiles(coverage: float) -> None:
    """2,197 tiles of 64 voxels, which hardly any permutation leaves as they are: +- 4 standard errors."""
    sides = (52, 52, 52)
    shuffled = apply_shuffling(numbered(1, sides), uniform_tiles(sides, (4, 4, 4), coverage, 13))
    changed = (shuffled != numbered(1, sides))[0, 0].view(13, 4, 13, 4, 13, 4).permute(0, 2, 4, 1, 3, 5).flatten(3)
    share = changed.any(dim=3).double().mean().item()
    assert share == pytest.approx(coverage, abs=4 * (coverage * (1 - coverage) / 13**3) ** 0.5)


def test_every_place_of_a_window_is_equally_likely() -> None:
    """A table of origins by places in 2 x 2 x 2 windows over 20 seeds: each entry 1/8 +- 0.03 (4.6 SE)."""
    sides = (16, 16, 16)
    counts = np.zeros((8, 8))
    for seed in range(20):
        shuffled = apply_shuffling(numbered(1, sides), uniform_tiles(sides, (2, 2, 2), 1.0, seed))[0]
        origin, place = sources(shuffled) % 2, np.indices(sides) % 2
        np.add.at(counts, (origin[0] * 4 + origin[1] * 2 + origin[2], place[0] * 4 + place[1] * 2 + place[2]), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), 1 / 8, atol=0.03)


def test_tiles_of_a_patch_are_permuted_in_many_ways() -> None:
    sides = (40, 40, 40)
    shuffled = apply_shuffling(numbered(1, sides), uniform_tiles(sides, (4, 4, 4), 1.0, 14))[0]
    origin = np.ravel_multi_index(tuple(sources(shuffled) % 4), (4, 4, 4))
    orders = {
        origin[reference.box((4 * x, 4 * y, 4 * z), (4, 4, 4))].tobytes()
        for x, y, z in itertools.product(range(10), repeat=3)
    }
    assert len(orders) >= 100


@pytest.mark.parametrize(
    ("sides", "cap", "longest"),
    [
        (PUBLISHED_SIZE, 6, (6, 6, 3)),
        ((160, 48, 20), 6, (6, 4, 2)),
        ((160, 96), 16, (16, 9)),
        ((12, 40, 96), 6, (1, 4, 6)),
    ],
)
def test_all_window_sides_up_to_the_longest_are_equally_many(
    sides: tuple[int, ...], cap: int, longest: tuple[int, ...]
) -> None:
    """A side is drawn in proportion to its length, since so many more short ones fit: chi-square, p > 0.001."""
    windows = sample_shuffling(1000, sides, generator(15), max_window_voxels=cap).windows.flatten(0, 1)
    for side, column in zip(longest, windows.T.numpy(), strict=True):
        counts = np.bincount(column, minlength=side + 1)
        assert len(counts) == side + 1, "no window is longer"
        assert counts[0] == 0
        weights = np.arange(1, side + 1)
        assert side == 1 or stats.chisquare(counts[1:], counts.sum() * weights / weights.sum()).pvalue > 1e-3


def test_bands_and_offsets_tile_the_whole_patch() -> None:
    parameters = sample_shuffling(500, (48, 64, 32), generator(16))
    assert (parameters.bands[:, 0] == 0).all()
    assert (parameters.bands[:, -1] == 48).all()
    assert (parameters.bands.diff(dim=1) >= 0).all()
    assert (parameters.offsets >= 0).all()
    assert (parameters.offsets < parameters.windows).all()
    seen = {
        tuple(pair)
        for pair in torch.stack([parameters.windows, parameters.offsets], -1)[..., 0, :].view(-1, 2).tolist()
    }
    assert seen == {(window, offset) for window in range(1, 5) for offset in range(window)}


@pytest.fixture(scope="module")
def strengths() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Share of changed voxels and mean displacement per axis, of 2 patches by the reference and of 100 of ours."""
    rng = np.random.default_rng(17)
    patch = numbered(1, PUBLISHED_SIZE)
    theirs = [torch.from_numpy(reference.shuffle(patch[0].double().numpy(), rng)) for _ in range(2)]
    parameters = sample_shuffling(100, PUBLISHED_SIZE, generator(17), probability=1.0)
    ours = [apply_shuffling(patch, parameters.select(slice(i, i + 1)))[0] for i in range(100)]
    place = torch.from_numpy(np.indices(PUBLISHED_SIZE)).flatten(1)
    means = []
    for patches in (theirs, ours):
        strength = []
        for shuffled in patches:
            origin = shuffled.flatten().long()
            moves = (place[:, origin] - place).abs()
            strength.append([(origin != torch.arange(len(origin))).float().mean(), *moves.float().mean(1)])
        means.append(np.mean(np.array(strength, dtype=np.float64), axis=0))
    return means[0], means[1]


def test_as_many_voxels_change_as_in_the_reference(
    strengths: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
) -> None:
    """Within 0.03; the standard errors are 0.001 (reference) and 0.006 (ours)."""
    theirs, ours = strengths
    assert ours[0] == pytest.approx(theirs[0], abs=0.03)


def test_voxels_move_as_far_as_in_the_reference(
    strengths: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
) -> None:
    """Mean absolute displacement per axis over all voxels, within 10 % (standard error of ours 2 to 3 %)."""
    theirs, ours = strengths
    np.testing.assert_allclose(ours[1:], theirs[1:], rtol=0.1)
