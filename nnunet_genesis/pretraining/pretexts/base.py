"""What every pretext offers to the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

from nnunet_genesis.pretraining.distortions.boxes import to_device
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters

if TYPE_CHECKING:
    from collections.abc import Mapping

ParametersT = TypeVar("ParametersT", bound=BatchParameters)


@dataclass(frozen=True)
class RestorationPairs:
    """A batch for the network.

    Attributes:
        distorted: (batch, channels, *spatial), what the network sees.
        target: Same shape, what it shall restore, as nnU-Net normalised it.
        weight: (batch, 1, *spatial) in [0, 1]; 0 on padding.
    """

    distorted: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


class Pretext(Protocol[ParametersT]):
    """A self-supervised task: how pairs are made, and what the network's output is judged by.

    `sample` draws all parameters of a batch from one generator; `make_pairs` is a pure function of patches and
    parameters. Losses are means per sample and then over the batch, so that a batch split over processes gives the
    gradients of the whole.
    """

    @property
    def citations(self) -> tuple[str, ...]:
        """Papers of the method."""
        ...

    def sample(self, batch_size: int, generator: torch.Generator) -> ParametersT:
        """Draw the parameters of one batch."""
        ...

    def make_pairs(
        self,
        patches: torch.Tensor,
        inside: torch.Tensor,
        parameters: ParametersT,
        *,
        random_device: torch.device | None = None,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Turn clean patches (batch, channels, *spatial) into pairs, without making the host wait for their device.

        `inside` is (batch, spatial axes, 2): the voxels that are no padding. Pairs in `out` are lost.
        """
        ...

    def describe(self, parameters: ParametersT) -> list[str]:
        """A few words per sample on what was done to it, for pictures."""
        ...

    def explain(self, parameters: ParametersT, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion."""
        ...

    def separate(self) -> Mapping[str, Pretext[ParametersT]]:
        """Each distortion alone and as often as its method allows, by its name, for pictures."""
        ...

    def losses(self, output: torch.Tensor, pairs: RestorationPairs) -> Mapping[str, torch.Tensor]:
        """Named losses, already weighted; their sum is minimised. Each is (batch,), one value per sample."""
        ...


def weight_inside(inside: torch.Tensor, patch_size: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Count what is no padding.

    Args:
        inside: (batch, spatial axes, 2) int64 on the CPU, first voxel inside the case, and the one after the last.
        patch_size: Voxels per axis.
        device: Where the weight is needed.

    Returns:
        (batch, 1, *patch_size) float32, 1 inside and 0 on padding; one value in memory where nothing is padded.
    """
    shape = (len(inside), 1, *patch_size)
    weight = torch.ones((1,) * len(shape), device=device)
    for axis, side in enumerate(patch_size):
        position = torch.arange(side)
        counts = (position >= inside[:, axis, :1]) & (position < inside[:, axis, 1:])
        if not counts.all():
            along_axis = counts.float().view(
                len(inside), 1, *[side if a == axis else 1 for a in range(len(patch_size))]
            )
            weight = weight * to_device(along_axis, device)
    return weight.expand(shape)


def restoration_error(output: torch.Tensor, pairs: RestorationPairs) -> torch.Tensor:
    """Mean squared error over the voxels that count.

    Args:
        output: (batch, channels, *spatial).
        pairs: The batch it belongs to.

    Returns:
        (batch,) mean over channels and weighted voxels; 0 for a patch without any voxel that counts.
    """
    # Chosen, not multiplied away: what overflows on padding must not turn into NaN.
    difference = torch.where(pairs.weight > 0, output.float() - pairs.target, 0.0)
    squared = difference.square() * pairs.weight
    total = pairs.weight.flatten(1).sum(1) * output.shape[1]
    return squared.flatten(1).sum(1) / torch.where(total > 0, total, 1.0)
