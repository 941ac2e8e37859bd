"""What every pretext offers to the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

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
        weight: torch.Tensor,
        parameters: ParametersT,
        random_device: torch.device | None = None,
    ) -> RestorationPairs:
        """Turn clean patches (batch, channels, *spatial) into pairs."""
        ...

    def describe(self, parameters: ParametersT) -> list[str]:
        """A few words per sample on what was done to it, for pictures."""
        ...

    def losses(self, output: torch.Tensor, pairs: RestorationPairs) -> Mapping[str, torch.Tensor]:
        """Named losses, already weighted; their sum is minimised. Each is (batch,), one value per sample."""
        ...


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
