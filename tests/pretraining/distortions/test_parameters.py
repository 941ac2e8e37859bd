"""Sampled parameters: slices of a batch, and the elementary draws."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import stats

from nnunet_genesis.config import ModelsGenesisConfig
from nnunet_genesis.pretraining.distortions.parameters import (
    BatchParameters,
    draw_seeds,
    sample_occurrence,
    sample_uniform_integers,
)
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SLICES = [slice(0, 3), slice(3, 6), slice(5, 6), slice(1, 6, 2), slice(None)]


@pytest.mark.parametrize("sides", [(24, 40, 20), (40, 24)])
@pytest.mark.parametrize("part", SLICES, ids=str)
def test_a_process_with_a_slice_of_the_batch_makes_the_pairs_of_the_whole(part: slice, sides: tuple[int, ...]) -> None:
    """What makes distributed training equal to one process: bit for bit, for all of Models Genesis."""
    intensities = IntensityRange((-1.5, -1.0), (3.0, 2.0), (False, False))
    pretext = ModelsGenesis(ModelsGenesisConfig(shuffling_probability=0.8), sides, intensities)
    patches = torch.randn(6, 2, *sides, generator=generator(0))
    first = torch.randint(0, 8, (6, len(sides)), generator=generator(1))
    inside = torch.stack([first, first + 12], dim=-1)
    parameters = pretext.sample(6, generator(2))
    whole = pretext.make_pairs(patches, inside, parameters)
    assert len({tuple(row) for row in (whole.distorted - patches).flatten(1).sum(1, keepdim=True).tolist()}) == 6
    alone = pretext.make_pairs(patches[part], inside[part], parameters.select(part))
    assert torch.equal(alone.distorted, whole.distorted[part])
    assert torch.equal(alone.target, whole.target[part])
    assert torch.equal(alone.weight, whole.weight[part])


def test_select_slices_every_field_at_every_level_and_keeps_the_types() -> None:
    pretext = ModelsGenesis(ModelsGenesisConfig(), (24, 24), IntensityRange((0.0,), (1.0,), (False,)))
    whole = pretext.sample(8, generator(3))
    part = whole.select(slice(2, 5))
    assert type(part) is type(whole)
    tensors = 0
    for distortion in fields(whole):
        ours, theirs = getattr(part, distortion.name), getattr(whole, distortion.name)
        assert isinstance(ours, BatchParameters)
        assert type(ours) is type(theirs)
        for part_field in fields(ours):  # type: ignore[arg-type]
            assert torch.equal(getattr(ours, part_field.name), getattr(theirs, part_field.name)[2:5])
            tensors += 1
    assert tensors == 15
    assert whole.mirroring.mirrored.shape[0] == 8, "the whole stays as it was"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 6), (-3, 2), (10, 21)])
def test_uniform_integers_reach_both_bounds_and_nothing_else(low: int, high: int) -> None:
    shape = (3000,)
    drawn = sample_uniform_integers(torch.full(shape, low), torch.full(shape, high), generator(4))
    assert drawn.dtype == torch.int64
    values, counts = np.unique(drawn.numpy(), return_counts=True)
    assert values.tolist() == list(range(low, high + 1))
    assert stats.chisquare(counts).pvalue > 1e-3


def test_uniform_integers_have_bounds_of_their_own_in_every_element() -> None:
    low = torch.tensor([[5, 0], [2, 7]]).expand(500, 2, 2)
    high = torch.tensor([[5, 1], [9, 8]]).expand(500, 2, 2)
    drawn = sample_uniform_integers(low, high, generator(5))
    assert torch.equal(drawn.amin(0), low[0])
    assert torch.equal(drawn.amax(0), high[0])


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_occurrence_has_the_given_probability(probability: float) -> None:
    """At 0 never, at 1 always, else within 4 standard errors of 4,000 draws."""
    drawn = sample_occurrence(4000, probability, generator(6))
    assert drawn.dtype == torch.bool
    tolerance = 4 * (probability * (1 - probability) / 4000) ** 0.5
    assert drawn.double().mean().item() == pytest.approx(probability, abs=tolerance)


def test_seeds_differ_use_the_whole_range_and_repeat_with_their_generator() -> None:
    seeds = draw_seeds(2000, generator(7))
    assert seeds.dtype == torch.int64
    assert len(set(seeds.tolist())) == 2000
    assert stats.kstest(seeds.double().numpy() / 2.0**62, "uniform").pvalue > 1e-3
    assert torch.equal(seeds, draw_seeds(2000, generator(7)))
