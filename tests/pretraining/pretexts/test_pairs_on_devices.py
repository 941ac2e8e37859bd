"""The way of processors and the way of accelerators give the same pairs, and the second never waits for its device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from nnunet_genesis.config import ModelsGenesisConfig
from nnunet_genesis.pretraining.distortions.intensity import (
    apply_intensity_curves,
    apply_intensity_curves_batched,
    sample_intensity_curves,
)
from nnunet_genesis.pretraining.distortions.mirroring import apply_mirroring
from nnunet_genesis.pretraining.distortions.painting import apply_painting, apply_painting_batched
from nnunet_genesis.pretraining.distortions.shuffling import apply_shuffling, apply_shuffling_batched
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from tests.pretraining.pretexts.devices import CPU, SIZES, generator, make_pairs_on_meta

if TYPE_CHECKING:
    from collections.abc import Callable


def genesis(sides: tuple[int, ...], channels: int) -> ModelsGenesis:
    low = tuple(-1.5 - channel for channel in range(channels))
    high = tuple(3.0 + 2 * channel for channel in range(channels))
    config = replace(ModelsGenesisConfig(), shuffling_probability=0.7, outpainting_probability=0.5)
    return ModelsGenesis(config, sides, IntensityRange(low, high, (False,) * channels))


def batch(channels: int, sides: tuple[int, ...], size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    patches = 2 * torch.randn(size, channels, *sides, generator=generator(0))
    return patches, torch.tensor([[0, side] for side in sides]).expand(size, -1, -1)


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_leaving_out_what_noise_covers_changes_nothing(channels: int, sides: tuple[int, ...]) -> None:
    """A pair equals the distortions one after the other over the whole patch, bit for bit."""
    pretext = genesis(sides, channels)
    patches, inside = batch(channels, sides)
    parameters = pretext.sample(6, generator(1))
    expected = apply_mirroring(patches, parameters.mirroring)
    expected = apply_shuffling(expected, parameters.shuffling)
    expected = apply_intensity_curves(expected, parameters.intensity, pretext.intensities)
    expected = apply_painting(expected, parameters.painting, pretext.intensities)
    assert torch.equal(pretext.make_pairs(patches, inside, parameters).distorted, expected)


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_a_whole_batch_at_once_gives_what_single_samples_give(channels: int, sides: tuple[int, ...]) -> None:
    """The operations of accelerators, run here: bit for bit, but for the rounding of the curves."""
    pretext = genesis(sides, channels)
    patches, _ = batch(channels, sides)
    parameters = pretext.sample(6, generator(2))
    shuffled = apply_shuffling(patches, parameters.shuffling)
    assert torch.equal(apply_shuffling_batched(patches, parameters.shuffling), shuffled)
    mapped = apply_intensity_curves(patches, parameters.intensity, pretext.intensities)
    mapped_at_once = apply_intensity_curves_batched(patches, parameters.intensity, pretext.intensities)
    torch.testing.assert_close(mapped_at_once, mapped, rtol=0, atol=2e-5)
    untouched = ~parameters.intensity.applied
    assert torch.equal(mapped_at_once[untouched], patches[untouched])
    painted = apply_painting(patches, parameters.painting, pretext.intensities)
    painted_at_once = apply_painting_batched(patches, parameters.painting, pretext.intensities, random_device=CPU)
    assert torch.equal(painted_at_once, painted)


def test_noise_of_a_device_covers_the_same_voxels_and_the_range_of_each_channel() -> None:
    pretext = genesis((32, 32, 32), 2)
    patches = torch.full((6, 2, 32, 32, 32), 100.0)
    parameters = pretext.sample(6, generator(3))
    painted = apply_painting_batched(patches, parameters.painting, pretext.intensities)
    expected = apply_painting(patches, parameters.painting, pretext.intensities)
    assert torch.equal(painted == 100, expected == 100)
    for channel, (low, high) in enumerate(zip(pretext.intensities.low, pretext.intensities.high, strict=True)):
        noise = painted[:, channel][painted[:, channel] != 100]
        assert noise.min().item() == pytest.approx(low, abs=0.001 * (high - low))
        assert noise.max().item() == pytest.approx(high, abs=0.001 * (high - low))
        assert noise.mean().item() == pytest.approx((low + high) / 2, abs=0.01 * (high - low))


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_no_value_is_read_back_from_the_device(channels: int, sides: tuple[int, ...]) -> None:
    """On the meta device there are no values: `.item()`, a mask or any shape that depends on data would raise."""
    pretext = genesis(sides, channels)
    patches, inside = batch(channels, sides)
    inside = inside.clone()
    inside[0, 0, 1] -= 1
    for seed in range(4, 8):
        make_pairs_on_meta(pretext, patches, inside, seed)


def test_the_meta_device_would_notice_a_value_that_is_read_back() -> None:
    values = torch.ones(3, device="meta")
    reads: list[Callable[[], object]] = [values.max().item, values.nonzero, lambda: values[values > 0]]
    for read in reads:
        with pytest.raises((RuntimeError, NotImplementedError)):
            read()


def test_operations_on_the_device_are_few_and_grow_by_a_few_per_sample() -> None:
    """Not thousands: about 60 for a batch, and up to 4 more per sample (a flip, its copy, its noise)."""
    pretext = genesis((64, 64, 64), 1)
    counts = {size: make_pairs_on_meta(pretext, *batch(1, (64, 64, 64), size), seed=9) for size in (2, 32)}
    assert 20 < counts[2] < 80
    assert counts[32] - counts[2] <= 4 * 30


def test_memory_of_earlier_pairs_is_used_again_and_gives_the_same_pairs() -> None:
    pretext = genesis((24, 32, 20), 2)
    patches, inside = batch(2, (24, 32, 20))
    first = pretext.make_pairs(patches, inside, pretext.sample(6, generator(10)))
    parameters = pretext.sample(6, generator(11))
    expected = pretext.make_pairs(patches, inside, parameters)
    again = pretext.make_pairs(patches, inside, parameters, out=first)
    assert again.distorted.data_ptr() == first.distorted.data_ptr()
    assert again.target.data_ptr() == first.target.data_ptr()
    assert torch.equal(again.distorted, expected.distorted)
    assert torch.equal(again.target, expected.target)
    assert again.target.data_ptr() != patches.data_ptr()


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_values_that_are_no_numbers_stay_where_they_are(broken: float) -> None:
    """A look-up must never leave its table; what is broken stays visible as such."""
    curves = sample_intensity_curves(1, 1, generator(12), probability=1.0)
    intensities = IntensityRange((-1.5,), (3.0,), (False,))
    patches = torch.zeros(1, 1, 8, 8, 8)
    clean = apply_intensity_curves(patches, curves, intensities)
    patches[..., 3] = broken
    for way in (apply_intensity_curves, apply_intensity_curves_batched):
        mapped = way(patches, curves, intensities)
        torch.testing.assert_close(mapped[..., :3], clean[..., :3])
        assert not (mapped[..., 3].abs() < 1e29).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_cuda_gives_the_pairs_of_the_cpu_without_synchronising(channels: int, sides: tuple[int, ...]) -> None:
    pretext = genesis(sides, channels)
    patches, inside = batch(channels, sides)
    parameters = pretext.sample(6, generator(13))
    expected = pretext.make_pairs(patches, inside, parameters)
    on_device = patches.cuda()
    pretext.make_pairs(on_device, inside, parameters)
    torch.cuda.set_sync_debug_mode("error")
    try:
        pretext.make_pairs(on_device, inside, parameters)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    pairs = pretext.make_pairs(on_device, inside, parameters, random_device=CPU)
    torch.testing.assert_close(pairs.distorted.cpu(), expected.distorted, rtol=0, atol=2e-5)
    assert torch.equal(pairs.target.cpu(), expected.target)
    assert torch.equal(pairs.weight.cpu(), expected.weight)
