"""Low resolution: a patch as a scanner with larger voxels would have seen it, on the old grid (ours).

Voxels are averaged into larger ones and interpolated linearly back, so that what the larger voxels cannot hold is gone
and nothing folds back as a pattern. All axes of a patch are coarsened by the same factor, but an axis that a longer one
exceeds more than `ANISOTROPY` times stays whole, as in nnU-Net's own augmentation: its voxels are large already.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

from nnunet_genesis.pretraining.distortions.parameters import BatchParameters, sample_occurrence

ANISOTROPY = 3
"""An axis is left whole if the longest side of the patch is more than so many times its own (nnU-Net's threshold)."""


@dataclass(frozen=True)
class LowResolution(BatchParameters):
    """Sampled resolutions.

    Attributes:
        applied: (batch,) bool, whether the sample is coarsened at all.
        sizes: (batch, spatial axes) int64, number of the larger voxels per axis; the patch's where an axis stays whole.
    """

    applied: torch.Tensor
    sizes: torch.Tensor

    def explain(self, sample: int) -> str:
        """Name the resolution of one sample."""
        if not self.applied[sample]:
            return "resolution as it was"
        return f"resolution of {' x '.join(map(str, self.sizes[sample].tolist()))} voxels"


def sample_low_resolution(
    batch_size: int,
    patch_size: tuple[int, ...],
    generator: torch.Generator,
    *,
    probability: float = 0.25,
    max_factor: float = 3.0,
) -> LowResolution:
    """Draw a factor from 1 to `max_factor` for every sample; an axis keeps at least one voxel."""
    sides = torch.tensor(patch_size)
    factors = 1 + (max_factor - 1) * torch.rand(batch_size, 1, generator=generator, dtype=torch.float64)
    sizes = (sides / factors).round().long().clamp(min=1)
    return LowResolution(
        applied=sample_occurrence(batch_size, probability, generator),
        sizes=torch.where(sides * ANISOTROPY >= max(patch_size), sizes, sides),
    )


def apply_low_resolution(patches: torch.Tensor, parameters: LowResolution) -> torch.Tensor:
    """Coarsen the samples that are drawn, on any device.

    Args:
        patches: (batch, channels, *spatial) float32.
        parameters: Sampled resolutions.

    Returns:
        New tensor of the same shape.
    """
    result = patches.clone()
    smooth = "trilinear" if patches.ndim == 5 else "bilinear"
    for sample, size in enumerate(parameters.sizes.tolist()):
        if parameters.applied[sample]:
            coarse = interpolate(patches[sample : sample + 1], size=size, mode="area")
            result[sample] = interpolate(coarse, size=patches.shape[2:], mode=smooth, align_corners=False)[0]
    return result
