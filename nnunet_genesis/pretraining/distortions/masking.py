"""Block masks: most of a patch is hidden, in whole blocks (Wald et al., arXiv 2410.23132).

Blocks are aligned with the network's deepest stage, one block for one of its cells: a cell is hidden as a whole.
They begin at the first voxel of the patch; where a side is no multiple of the block, the last one is smaller. Blocks
that lie in padding altogether are neither hidden nor counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nnunet_genesis.pretraining.distortions.boxes import to_device
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters, sample_occurrence

if TYPE_CHECKING:
    from nnunet_genesis.pretraining.intensities import IntensityRange


@dataclass(frozen=True)
class Masking(BatchParameters):
    """Sampled masks.

    Attributes:
        applied: (batch,) bool, whether anything of the sample is hidden.
        ratios: (batch,) float64, share of the blocks that are hidden.
        order: (batch, *blocks per axis) float32, in which blocks are hidden: the smallest numbers first.
    """

    applied: torch.Tensor
    ratios: torch.Tensor
    order: torch.Tensor

    def explain(self, sample: int) -> str:
        """Name the mask of one sample."""
        if not self.applied[sample]:
            return "not masked"
        blocks = " x ".join(map(str, self.order.shape[1:]))
        return f"{100 * float(self.ratios[sample]):.0f} % of {blocks} blocks masked"


def blocks_per_axis(patch_size: tuple[int, ...], block: tuple[int, ...]) -> tuple[int, ...]:
    """How many blocks a patch has, the smaller last ones included."""
    return tuple(-(-side // edge) for side, edge in zip(patch_size, block, strict=True))


def sample_masking(
    batch_size: int,
    patch_size: tuple[int, ...],
    block: tuple[int, ...],
    generator: torch.Generator,
    *,
    ratio: tuple[float, float],
    probability: float = 1.0,
) -> Masking:
    """Draw the share of hidden blocks uniformly between two ratios, and an order of the blocks."""
    low, high = ratio
    return Masking(
        applied=sample_occurrence(batch_size, probability, generator),
        ratios=low + (high - low) * torch.rand(batch_size, generator=generator, dtype=torch.float64),
        order=torch.rand(batch_size, *blocks_per_axis(patch_size, block), generator=generator),
    )


def masked_blocks(
    parameters: Masking, inside: torch.Tensor, patch_size: tuple[int, ...], block: tuple[int, ...]
) -> torch.Tensor:
    """Choose the hidden blocks: round(ratio * blocks) of those that hold a voxel of the scan.

    At least one is hidden, and of two or more at least one stays visible.

    Args:
        parameters: Sampled masks.
        inside: (batch, spatial axes, 2) int64 on the CPU: first voxel that is no padding, and the one after them.
        patch_size: Voxels per axis.
        block: Voxels of a block per axis.

    Returns:
        (batch, *blocks per axis) bool on the CPU.
    """
    order, num_axes = parameters.order, len(patch_size)
    counted = torch.ones(order.shape, dtype=torch.bool)
    for axis, (side, edge) in enumerate(zip(patch_size, block, strict=True)):
        starts = torch.arange(0, side, edge)
        holds = (starts < inside[:, axis, 1:]) & ((starts + edge).clamp(max=side) > inside[:, axis, :1])
        counted &= holds.view(-1, *[len(starts) if a == axis else 1 for a in range(num_axes)])
    counts = counted.flatten(1).sum(1)
    hidden = (parameters.ratios * counts).round().long().clamp(min=1)
    hidden = hidden.minimum((counts - 1).clamp(min=1)) * parameters.applied
    in_order = torch.where(counted, order, torch.inf).flatten(1).argsort(dim=1, stable=True)
    ranks = torch.empty_like(in_order).scatter_(1, in_order, torch.arange(in_order.shape[1]).expand_as(in_order))
    return (ranks < hidden[:, None]).view(order.shape) & counted


def masked_voxels(
    blocks: torch.Tensor, patch_size: tuple[int, ...], block: tuple[int, ...], device: torch.device
) -> torch.Tensor:
    """Enlarge blocks to voxels on a device.

    Args:
        blocks: (batch, *blocks per axis) bool on the CPU.
        patch_size: Voxels per axis.
        block: Voxels of a block per axis.
        device: Where the mask is needed.

    Returns:
        (batch, 1, *patch_size) bool.
    """
    voxels = to_device(blocks[:, None], device)
    for axis, (side, edge) in enumerate(zip(patch_size, block, strict=True)):
        voxels = voxels.index_select(2 + axis, to_device(torch.arange(side) // edge, device))
    return voxels


def fill_values(intensities: IntensityRange) -> tuple[float, ...]:
    """What hidden voxels are set to, per channel, in the units of the preprocessed data (ours).

    0 where it lies inside the channel's range: the mean of z-scored and CT-normalised data, and what nnU-Net pads
    with. Else (raw or rescaled intensities, where 0 is an extreme) the middle of the range.
    """
    return tuple(
        0.0 if low < 0 < high else (low + high) / 2 for low, high in zip(intensities.low, intensities.high, strict=True)
    )


def fill_masked(
    patches: torch.Tensor, masked: torch.Tensor, values: tuple[float, ...], *, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Set hidden voxels to a constant per channel.

    Args:
        patches: (batch, channels, *spatial) float32.
        masked: (batch, 1, *spatial) bool, on the same device.
        values: One per channel.
        out: Memory for the result, of the patches' shape; new by default.

    Returns:
        Tensor of the same shape, never the memory that came in.
    """
    constants = torch.tensor(values, dtype=patches.dtype).view(1, -1, *[1] * (patches.ndim - 2))
    result = torch.empty_like(patches) if out is None else out
    return torch.where(masked, to_device(constants, patches.device), patches, out=result)
