"""Painting (Models Genesis, arXiv 1908.06912): boxes of noise, or everything noise but some windows.

Published sizes, per axis of length n: in-painting boxes n/6 to n/3, up to five; out-painting windows 3/7 n to 4/7 n,
one to five; each further box with p = 0.95; a margin of three voxels to the border. Here every size is at least one
voxel and the margin shrinks where an axis cannot carry it, so that thin patches work (ours).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_genesis.pretraining.distortions.parameters import (
    BatchParameters,
    draw_seeds,
    sample_occurrence,
    sample_uniform_integers,
    seeded_generators,
)

MAX_BOXES = 5
MARGIN = 3
"""Voxels between a box and the border of the patch, where the axis is long enough."""


@dataclass(frozen=True)
class Painting(BatchParameters):
    """Sampled boxes.

    Attributes:
        applied: (batch,) bool, whether the sample is painted at all.
        outside: (batch,) bool, True for out-painting (noise outside the boxes), False for in-painting.
        starts: (batch, MAX_BOXES, spatial axes) int64, first voxel of every box.
        sizes: (batch, MAX_BOXES, spatial axes) int64, sides in voxels; 0 for boxes that are not used.
        noise_seed: (batch,) int64.
    """

    applied: torch.Tensor
    outside: torch.Tensor
    starts: torch.Tensor
    sizes: torch.Tensor
    noise_seed: torch.Tensor


def sample_painting(
    batch_size: int,
    patch_size: tuple[int, ...],
    generator: torch.Generator,
    *,
    probability: float = 0.9,
    outside_probability: float = 0.8,
    continue_probability: float = 0.95,
) -> Painting:
    """Draw boxes for in-painting or out-painting."""
    applied = sample_occurrence(batch_size, probability, generator)
    outside = sample_occurrence(batch_size, outside_probability, generator)
    shape = (batch_size, MAX_BOXES, len(patch_size))
    side = torch.tensor(patch_size).expand(shape)
    inside_low, inside_high = (side // 6).clamp(min=1), (side // 3).clamp(min=1)
    outside_low, outside_high = (side - 4 * side // 7).clamp(min=1), (side - 3 * side // 7).clamp(min=1)
    is_outside = outside[:, None, None]
    sizes = sample_uniform_integers(
        torch.where(is_outside, outside_low, inside_low), torch.where(is_outside, outside_high, inside_high), generator
    )
    slack = side - sizes
    margin = (slack // 2).clamp(max=MARGIN)
    starts = sample_uniform_integers(margin, slack - margin, generator)
    goes_on = torch.rand(batch_size, MAX_BOXES, generator=generator) < continue_probability
    goes_on[:, 0] |= outside  # out-painting always keeps one window
    used = goes_on.long().cumprod(1)
    return Painting(applied, outside, starts, sizes * used[:, :, None], draw_seeds(batch_size, generator))


def painted_voxels(parameters: Painting, patch_size: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Tell which voxels become noise, whether or not the sample is painted.

    Returns:
        (batch, *patch_size) bool.
    """
    starts, sizes = parameters.starts.to(device), parameters.sizes.to(device)
    batch_size, num_axes = starts.shape[0], len(patch_size)
    in_box = torch.ones(batch_size, MAX_BOXES, *[1] * num_axes, dtype=torch.bool, device=device)
    for axis, side in enumerate(patch_size):
        position = torch.arange(side, device=device)
        first, size = starts[:, :, axis, None], sizes[:, :, axis, None]
        on_axis = (position >= first) & (position < first + size)
        in_box = in_box & on_axis.view(batch_size, MAX_BOXES, *[side if a == axis else 1 for a in range(num_axes)])
    outside = parameters.outside.to(device).view(batch_size, *[1] * num_axes)
    return in_box.any(dim=1) ^ outside


def apply_painting(
    units: torch.Tensor, parameters: Painting, *, random_device: torch.device | None = None
) -> torch.Tensor:
    """Replace the painted voxels by noise, uniform over [0, 1] and independent in every voxel and channel.

    Args:
        units: (batch, channels, *spatial) in normalised units.
        parameters: Sampled boxes.
        random_device: Where the noise is drawn; the patches' own device by default.

    Returns:
        New tensor of the same shape.
    """
    result = units.clone()
    painted = painted_voxels(parameters, tuple(units.shape[2:]), units.device)
    generators = seeded_generators(parameters.noise_seed, random_device or units.device)
    for sample, (applied, generator) in enumerate(zip(parameters.applied.tolist(), generators, strict=True)):
        if applied:
            noise = torch.rand(units.shape[1:], generator=generator, device=generator.device, dtype=units.dtype)
            result[sample] = torch.where(painted[sample], noise.to(units.device), units[sample])
    return result
