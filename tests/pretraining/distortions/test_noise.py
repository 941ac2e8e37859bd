"""Additive noise: as strong as drawn, independent everywhere, the same from the same seed."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from nnunet_genesis.pretraining.distortions.noise import apply_noise, sample_noise
from nnunet_genesis.pretraining.intensities import IntensityRange

INTENSITIES = IntensityRange((-1.5, 0.0), (3.0, 200.0), (False, False))
CPU = torch.device("cpu")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sides", [(16, 64, 64), (96, 80), (24, 20, 28)])
def test_noise_is_normal_and_as_strong_as_drawn(sides: tuple[int, ...]) -> None:
    patches = torch.randn(4, 2, *sides, generator=generator(0))
    parameters = sample_noise(4, 2, generator(1), probability=1, max_deviation=0.1)
    noise = apply_noise(patches, parameters, INTENSITIES) - patches
    for sample in range(4):
        for channel, width in enumerate((4.5, 200.0)):
            values = noise[sample, channel].flatten().double().numpy()
            deviation = float(parameters.deviations[sample, channel]) * width
            assert values.std() == pytest.approx(deviation, rel=0.03)
            assert stats.kstest(values[::7], stats.norm(scale=deviation).cdf).pvalue > 1e-4
    flat = noise.flatten(2).flatten(0, 1)
    correlations = torch.corrcoef(flat) - torch.eye(8)
    assert correlations.abs().max() < 0.05, "channels and samples are independent"


def test_strengths_are_uniform_up_to_the_largest() -> None:
    parameters = sample_noise(2000, 2, generator(2), probability=0.3, max_deviation=0.05)
    assert stats.kstest(parameters.deviations.flatten().double().numpy(), stats.uniform(0, 0.05).cdf).pvalue > 1e-3
    assert parameters.applied.float().mean().item() == pytest.approx(0.3, abs=0.05)


def test_only_drawn_samples_change_and_a_part_of_the_batch_is_the_same() -> None:
    patches = torch.randn(6, 2, 8, 8, 8, generator=generator(3))
    before = patches.clone()
    parameters = sample_noise(6, 2, generator(4), probability=0.5)
    assert 0 < parameters.applied.sum() < 6
    noisy = apply_noise(patches, parameters, INTENSITIES)
    assert torch.equal((noisy != patches).flatten(1).any(1), parameters.applied)
    assert torch.equal(patches, before)
    assert torch.equal(apply_noise(patches, parameters, INTENSITIES), noisy)
    assert torch.equal(apply_noise(patches[2:5], parameters.select(slice(2, 5)), INTENSITIES), noisy[2:5])
    texts = {parameters.explain(sample).startswith("noise of ") for sample in range(6)}
    assert texts == {True, False}


def test_no_value_is_read_back_from_the_device() -> None:
    patches = torch.zeros(3, 2, 8, 8, device="meta")
    parameters = sample_noise(3, 2, generator(5), probability=1)
    assert apply_noise(patches, parameters, INTENSITIES, random_device=CPU).device.type == "meta"
