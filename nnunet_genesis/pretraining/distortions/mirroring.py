"""Mirroring of input and target together (Models Genesis, arXiv 1908.06912: up to 3 flips, continued with p = 0.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nnunet_genesis.pretraining.distortions.parameters import BatchParameters


@dataclass(frozen=True)
class Mirroring(BatchParameters):
    """Sampled flips.

    Attributes:
        mirrored: (batch, spatial axes) bool, whether the axis is reversed.
    """

    mirrored: torch.Tensor

    def explain(self, sample: int) -> str:
        """Name the reversed axes of one sample."""
        axes = self.mirrored[sample].nonzero()[:, 0].tolist()
        return f"mirrored along axis {', '.join(map(str, axes))}" if axes else "not mirrored"


def sample_mirroring(
    batch_size: int, num_axes: int, generator: torch.Generator, *, probability: float = 0.4, max_flips: int = 3
) -> Mirroring:
    """Draw up to `max_flips` flips of a random axis each, going on with `probability` before every one."""
    goes_on = (torch.rand(batch_size, max_flips, generator=generator) < probability).long().cumprod(1)
    axes = torch.randint(num_axes, (batch_size, max_flips), generator=generator)
    counts = torch.zeros(batch_size, num_axes, dtype=torch.long).scatter_add_(1, axes, goes_on)
    return Mirroring(mirrored=counts % 2 == 1)


def apply_mirroring(patches: torch.Tensor, parameters: Mirroring, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """Reverse the chosen axes of every sample; channels are never touched.

    Args:
        patches: (batch, channels, *spatial), any dtype.
        parameters: Sampled flips.
        out: Memory for the result, of the patches' shape; new by default.

    Returns:
        The mirrored patches, never the memory that came in.
    """
    result = torch.empty_like(patches) if out is None else out
    for sample, mirrored in enumerate(parameters.mirrored.tolist()):
        axes = [1 + axis for axis, reverse in enumerate(mirrored) if reverse]
        if axes and patches.device.type == "cpu":
            # torch.flip would make a copy of its own first.
            backwards = tuple(
                slice(None, None, -1) if axis in axes else slice(None) for axis in range(patches.ndim - 1)
            )
            np.copyto(result[sample].numpy(), patches[sample].numpy()[backwards])
        else:
            result[sample].copy_(patches[sample].flip(axes) if axes else patches[sample])
    return result


def mirror_boxes(boxes: torch.Tensor, parameters: Mirroring, patch_size: tuple[int, ...]) -> torch.Tensor:
    """Where boxes lie once their patches are mirrored.

    Args:
        boxes: (batch, spatial axes, 2) int64, first voxel and the one after the last.
        parameters: Sampled flips.
        patch_size: Voxels per axis.

    Returns:
        Tensor of the same shape.
    """
    reflected = torch.tensor(patch_size)[:, None] - boxes.flip(-1)
    return torch.where(parameters.mirrored[..., None], reflected, boxes)
