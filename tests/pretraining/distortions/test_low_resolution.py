"""Low resolution: what larger voxels cannot hold is gone, everything else stays where it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from nnunet_genesis.pretraining.distortions.low_resolution import (
    LowResolution,
    apply_low_resolution,
    sample_low_resolution,
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at(sides: tuple[int, ...], size: tuple[int, ...], patches: torch.Tensor) -> torch.Tensor:
    assert patches.shape[2:] == sides
    parameters = LowResolution(torch.ones(len(patches), dtype=torch.bool), torch.tensor([size] * len(patches)))
    return apply_low_resolution(patches, parameters)


def test_voxels_are_averages_interpolated_back() -> None:
    """By hand along one axis: 6 voxels to 3 pairs, and linearly between the centres of the pairs."""
    line = torch.tensor([0.0, 2, 4, 6, 20, 22])
    means = np.array([1.0, 5.0, 21.0])
    expected = np.interp(np.arange(6), [0.5, 2.5, 4.5], means)
    patches = line.expand(1, 1, 4, 6).contiguous()
    np.testing.assert_allclose(at((4, 6), (4, 3), patches)[0, 0].numpy(), np.tile(expected, (4, 1)), rtol=1e-6)
    volume = line.view(1, 1, 6, 1, 1).expand(1, 1, 6, 3, 2).contiguous()
    np.testing.assert_allclose(at((6, 3, 2), (3, 3, 2), volume)[0, 0, :, 1, 1].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_fine_patterns_vanish_without_folding_back_and_coarse_ones_stay(factor: float) -> None:
    side = 96
    position = torch.arange(side, dtype=torch.float32)
    size = (side, round(side / factor))
    fine = (torch.pi * position).cos().expand(1, 1, side, side).contiguous()
    assert at((side, side), size, fine).std() < 0.35 * fine.std()
    coarse = (2 * torch.pi * position / 32).cos().expand(1, 1, side, side).contiguous()
    error = (at((side, side), size, coarse) - coarse)[..., 8:-8]
    assert error.abs().max() < 0.1
    constant = torch.full((1, 1, side, side), 3.25)
    torch.testing.assert_close(at((side, side), size, constant), constant)


@pytest.mark.parametrize("sides", [(40, 56, 40), (16, 256, 256), (20, 72, 72), (96, 80), (3, 5, 4), (1, 32, 32)])
def test_factors_are_uniform_and_axes_of_large_voxels_stay_whole(sides: tuple[int, ...]) -> None:
    parameters = sample_low_resolution(3000, sides, generator(0), probability=0.25, max_factor=3.0)
    assert parameters.applied.float().mean().item() == pytest.approx(0.25, abs=0.03)
    for axis, side in enumerate(sides):
        sizes = parameters.sizes[:, axis]
        if 3 * side < max(sides):
            assert (sizes == side).all()
            continue
        assert sizes.min() == round(side / 3)
        assert sizes.max() == side
    if max(sides) > 50:
        factors = max(sides) / parameters.sizes[:, int(np.argmax(sides))].double().numpy()
        edges = np.linspace(1, 3, 5)
        observed = np.histogram(factors, edges)[0]
        assert stats.chisquare(observed).statistic < 60, "roughly: sizes are rounded"
    patches = torch.randn(4, 2, *sides, generator=generator(1))
    assert apply_low_resolution(patches, parameters.select(slice(0, 4))).shape == patches.shape


def test_only_drawn_samples_change_and_channels_alike() -> None:
    patches = torch.randn(6, 1, 12, 16, 20, generator=generator(2)).expand(-1, 3, -1, -1, -1).contiguous()
    before = patches.clone()
    parameters = sample_low_resolution(6, (12, 16, 20), generator(3), probability=0.5)
    assert 0 < parameters.applied.sum() < 6
    coarse = apply_low_resolution(patches, parameters)
    assert torch.equal((coarse != patches).flatten(1).any(1), parameters.applied)
    assert torch.equal(coarse[:, 0], coarse[:, 2])
    assert torch.equal(patches, before)
    assert torch.equal(apply_low_resolution(patches[1:4], parameters.select(slice(1, 4))), coarse[1:4])
    drawn = int(parameters.applied.nonzero()[0])
    assert parameters.explain(drawn).startswith("resolution of ")
    assert parameters.explain(int((~parameters.applied).nonzero()[0])) == "resolution as it was"


def test_no_value_is_read_back_from_the_device() -> None:
    patches = torch.zeros(3, 2, 9, 12, 8, device="meta")
    parameters = sample_low_resolution(3, (9, 12, 8), generator(4), probability=1)
    assert apply_low_resolution(patches, parameters).device.type == "meta"
