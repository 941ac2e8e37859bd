"""Additive noise: normal, independent in every voxel, as strong as drawn per channel (ours)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nnunet_genesis.pretraining.distortions.boxes import to_device
from nnunet_genesis.pretraining.distortions.parameters import (
    BatchParameters,
    draw_normal,
    draw_seeds,
    sample_occurrence,
)

if TYPE_CHECKING:
    from nnunet_genesis.pretraining.intensities import IntensityRange


@dataclass(frozen=True)
class Noise(BatchParameters):
    """Sampled strengths.

    Attributes:
        applied: (batch,) bool, whether the sample gets noise at all.
        deviations: (batch, channels) float32, standard deviation as a share of the channel's range.
        noise_seed: (batch,) int64.
    """

    applied: torch.Tensor
    deviations: torch.Tensor
    noise_seed: torch.Tensor

    def explain(self, sample: int) -> str:
        """Name the strength of the noise of one sample."""
        if not self.applied[sample]:
            return "no noise"
        strengths = ", ".join(f"{100 * share:.1f}" for share in self.deviations[sample].tolist())
        return f"noise of {strengths} % of the range (standard deviation)"


def sample_noise(
    batch_size: int,
    num_channels: int,
    generator: torch.Generator,
    *,
    probability: float = 0.5,
    max_deviation: float = 0.1,
) -> Noise:
    """Draw a standard deviation from 0 to `max_deviation` of the range for every channel of every sample."""
    return Noise(
        applied=sample_occurrence(batch_size, probability, generator),
        deviations=max_deviation * torch.rand(batch_size, num_channels, generator=generator),
        noise_seed=draw_seeds(batch_size, generator),
    )


def apply_noise(
    patches: torch.Tensor,
    parameters: Noise,
    intensities: IntensityRange,
    *,
    random_device: torch.device | None = None,
) -> torch.Tensor:
    """Add noise to the samples that get it, each from its own seed.

    Args:
        patches: (batch, channels, *spatial) float32.
        parameters: Sampled strengths.
        intensities: The range of each channel.
        random_device: Where the noise is drawn; the patches' own device by default.

    Returns:
        New tensor of the same shape.
    """
    result = patches.clone()
    widths = torch.tensor(intensities.width, dtype=torch.float32)
    strengths = to_device(
        (parameters.deviations * widths).view(*patches.shape[:2], *[1] * (patches.ndim - 2)), patches.device
    )
    drawn_on = patches.device if random_device is None else random_device
    for sample, seed in enumerate(parameters.noise_seed.tolist()):
        if parameters.applied[sample]:
            noise = to_device(_draw_noise(tuple(patches.shape[1:]), seed, drawn_on), patches.device)
            result[sample].addcmul_(noise, strengths[sample])
    return result


def _draw_noise(shape: tuple[int, ...], seed: int, device: torch.device) -> torch.Tensor:
    if device.type == "cpu":
        return draw_normal(shape, seed)
    return torch.empty(shape, device=device).normal_(generator=torch.Generator(device).manual_seed(seed))
