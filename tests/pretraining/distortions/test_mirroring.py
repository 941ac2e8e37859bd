"""Mirroring: which axes, how often, and input and weight together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from nnunet_genesis.pretraining.distortions.mirroring import Mirroring, apply_mirroring, sample_mirroring
from tests.pretraining.distortions import reference


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(batch_size: int, channels: int, *sides: int) -> torch.Tensor:
    return torch.arange(batch_size * channels * int(np.prod(sides)), dtype=torch.float32).view(
        batch_size, channels, *sides
    )


@pytest.mark.parametrize("num_axes", [2, 3])
def test_every_combination_of_flips_reverses_exactly_its_own_sample_and_axes(num_axes: int) -> None:
    combinations = list(itertools.product([False, True], repeat=num_axes))
    patches = numbered(len(combinations), 2, *(3, 4, 5)[:num_axes])
    mirrored = apply_mirroring(patches, Mirroring(torch.tensor(combinations)))
    for sample, combination in enumerate(combinations):
        expected = patches[sample].numpy()
        for axis, reverse in enumerate(combination):
            if reverse:
                expected = np.flip(expected, axis=axis + 1)
        np.testing.assert_array_equal(mirrored[sample].numpy(), expected)


@pytest.mark.parametrize("sides", [(4, 5, 6), (5, 6)])
def test_channels_keep_their_place_under_all_flips(sides: tuple[int, ...]) -> None:
    patches = torch.arange(3.0).view(1, 3, *[1] * len(sides)).expand(2, 3, *sides)
    mirrored = apply_mirroring(patches, Mirroring(torch.ones(2, len(sides), dtype=torch.bool)))
    torch.testing.assert_close(mirrored, patches, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.int16])
def test_the_weight_is_mirrored_together_with_the_patch(dtype: torch.dtype) -> None:
    parameters = sample_mirroring(32, 3, generator(0), probability=0.9)
    assert parameters.mirrored.any()
    assert not parameters.mirrored.all()
    patches = torch.rand(32, 2, 4, 6, 5, generator=generator(1))
    weight = (patches[:, :1] > 0.5).to(dtype)
    mirrored = apply_mirroring(patches, parameters)
    mirrored_weight = apply_mirroring(weight, parameters)
    assert mirrored_weight.dtype == dtype
    assert torch.equal(mirrored_weight, (mirrored[:, :1] > 0.5).to(dtype))


def test_the_input_is_not_changed_and_the_result_is_new_memory() -> None:
    patches = numbered(2, 1, 3, 4, 5)
    before = patches.clone()
    parameters = Mirroring(torch.tensor([[True, False, True], [False, False, False]]))
    apply_mirroring(patches, parameters).fill_(-1)
    assert torch.equal(patches, before)


@pytest.mark.parametrize("num_axes", [2, 3])
def test_every_spatial_axis_is_flipped_equally_often(num_axes: int) -> None:
    mirrored = sample_mirroring(6000, num_axes, generator(2), max_flips=1).mirrored
    assert mirrored.shape == (6000, num_axes)
    per_axis = mirrored.sum(0).numpy()
    assert stats.chisquare(per_axis).pvalue > 1e-3


def test_a_flip_is_attempted_with_the_published_probability() -> None:
    """With one flip at most none can cancel, so that a mirrored patch is an attempted flip: 0.4 of 20,000 +- 4 SE."""
    mirrored = sample_mirroring(20_000, 3, generator(3), max_flips=1).mirrored
    assert mirrored.any(1).double().mean().item() == pytest.approx(0.4, abs=4 * (0.24 / 20_000) ** 0.5)
    assert mirrored.sum(1).max() == 1


def test_flips_stop_at_the_first_refusal_and_after_three() -> None:
    """Three flips need three successes in a row: all axes at once have 0.4^3 * 3!/3^3 = 0.0142."""
    mirrored = sample_mirroring(20_000, 3, generator(4)).mirrored
    expected = 0.4**3 * 6 / 27
    assert mirrored.all(1).double().mean().item() == pytest.approx(expected, abs=4 * (expected / 20_000) ** 0.5)
    assert (sample_mirroring(200, 3, generator(5), probability=1.0).mirrored.sum(1) % 2 == 1).all()
    assert not sample_mirroring(200, 3, generator(6), probability=0.0).mirrored.any()


@pytest.mark.parametrize("num_axes", [2, 3])
def test_net_flips_are_distributed_as_in_the_reference(num_axes: int) -> None:
    """Chi-square over all combinations of reversed axes, 8,000 draws each."""
    rng = np.random.default_rng(7)
    combinations = list(itertools.product([False, True], repeat=num_axes))
    patch = np.zeros((1,) * (num_axes + 1))
    theirs = [reference.mirror(patch, rng)[1] for _ in range(8000)]
    ours = [tuple(row) for row in sample_mirroring(8000, num_axes, generator(7)).mirrored.tolist()]
    counts = [[draws.count(combination) for combination in combinations] for draws in (theirs, ours)]
    assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_the_same_seed_gives_the_same_flips_and_another_seed_others() -> None:
    first, again, other = (sample_mirroring(64, 3, generator(seed)).mirrored for seed in (8, 8, 9))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
