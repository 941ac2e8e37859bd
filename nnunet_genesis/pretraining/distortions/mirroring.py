"""Mirroring of input and target together (Models Genesis, arXiv 1908.06912: up to 3 flips, continued with p = 0.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_genesis.pretraining.distortions.parameters import BatchParameters


@dataclass(frozen=True)
class Mirroring(BatchParameters):
    """Sampled flips.

    Attributes:
        mirrored: (batch, spatial axes) bool, whether the axis is reversed.
    """

    mirrored: torch.Tensor


def sample_mirroring(
    batch_size: int, num_axes: int, generator: torch.Generator, *, probability: float = 0.4, max_flips: int = 3
) -> Mirroring:
    """Draw up to `max_flips` flips of a random axis each, going on with `probability` before every one."""
    goes_on = (torch.rand(batch_size, max_flips, generator=generator) < probability).long().cumprod(1)
    axes = torch.randint(num_axes, (batch_size, max_flips), generator=generator)
    counts = torch.zeros(batch_size, num_axes, dtype=torch.long).scatter_add_(1, axes, goes_on)
    return Mirroring(mirrored=counts % 2 == 1)


def apply_mirroring(patches: torch.Tensor, parameters: Mirroring) -> torch.Tensor:
    """Reverse the chosen axes of every sample; channels are never touched.

    Args:
        patches: (batch, channels, *spatial), any dtype.
        parameters: Sampled flips.

    Returns:
        New tensor of the same shape.
    """
    samples = []
    for patch, mirrored in zip(patches, parameters.mirrored.tolist(), strict=True):
        axes = [1 + axis for axis, reverse in enumerate(mirrored) if reverse]
        samples.append(patch.flip(axes) if axes else patch)
    return torch.stack(samples)
