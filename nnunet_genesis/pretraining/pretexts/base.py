"""What every pretext offers to the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import torch

from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.distortions.boxes import to_device
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.data import CasePatches, Labels
    from nnunet_genesis.pretraining.sources import Source

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


class NetworkOutputs(NamedTuple):
    """What comes out of the network and the heads of a pretext.

    Attributes:
        restored: (batch, channels, *spatial), in nnU-Net's normalised units.
        heads: Outputs of the pretext's heads, by name; empty where it has none.
    """

    restored: torch.Tensor
    heads: Mapping[str, torch.Tensor]


class Pretext(ABC, Generic[ParametersT]):
    """A self-supervised task: which patches it looks at, how pairs are made, and what the outputs are judged by.

    `sample` draws all parameters of a batch from one generator; `make_pairs` is a pure function of patches and
    parameters. Losses are means per sample and then over the batch, so that a batch split over processes gives the
    gradients of the whole. A pretext that needs more than a restoration brings heads for the deepest encoder stage;
    they live outside the network of the plans and are no part of the weights that are handed on.

    Attributes:
        citations: Papers of the method.
        patch_size: Voxels per axis of its patches: the plans' or less.
        heads_see_targets: Whether heads are on the features of the targets, which costs a second pass of the encoder,
            and not on those of the distorted patches.
        adversarial_losses: Names of losses that the network does not learn to lower: they are logged, but no part of
            the sums that tell the best epoch.
    """

    citations: ClassVar[tuple[str, ...]]
    patch_size: tuple[int, ...]
    heads_see_targets: bool = False
    adversarial_losses: frozenset[str] = frozenset()

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> ParametersT:
        """Draw the parameters of one batch."""

    @abstractmethod
    def make_pairs(
        self,
        patches: torch.Tensor,
        inside: torch.Tensor,
        parameters: ParametersT,
        *,
        random_device: torch.device | None = None,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Turn clean patches into pairs, without making the host wait for their device.

        Args:
            patches: (batch, channels, *patch_size) float32, as nnU-Net normalised them.
            inside: (batch, spatial axes, 2) int64 on the CPU: first voxel that is no padding, and the one after them.
            parameters: What `sample` drew.
            random_device: Where noise is drawn; the patches' own device by default. A CPU device gives the same pair on
                every device.
            out: Earlier pairs of the same shape that are needed no more: their memory is used again.
        """

    @abstractmethod
    def describe(self, parameters: ParametersT) -> list[str]:
        """A few words per sample on what was done to it, for pictures."""

    @abstractmethod
    def explain(self, parameters: ParametersT, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion."""

    @abstractmethod
    def separate(self) -> Mapping[str, Pretext[ParametersT]]:
        """Each distortion alone and as often as its method allows, by its name, for pictures."""

    def restoration_losses(self, restored: torch.Tensor, pairs: RestorationPairs) -> Mapping[str, torch.Tensor]:
        """Named losses of a restoration, already weighted: (batch,) each, one value per sample."""
        return {"restoration": restoration_error(restored, pairs)}

    def seen_by_heads(self, pairs: RestorationPairs) -> torch.Tensor | None:
        """What the heads look at where it is not the distorted patches, see `heads_see_targets`."""
        return pairs.target if self.heads_see_targets else None

    def build_heads(self, planned: PlannedConfiguration) -> nn.Module | None:
        """Make the heads for a network: a module from its deepest stage (batch, features, *spatial) to outputs by name.

        Raises:
            SetupError: If the plans do not tell what heads need to know.
        """
        del planned
        return None

    def head_losses(
        self, heads: nn.Module | None, outputs: Mapping[str, torch.Tensor], labels: Labels
    ) -> Mapping[str, torch.Tensor]:
        """Named losses of what the heads said, already weighted: (batch,) each."""
        del heads, outputs, labels
        return {}

    def head_scores(
        self, heads: nn.Module | None, outputs: Mapping[str, torch.Tensor], labels: Labels
    ) -> Mapping[str, torch.Tensor]:
        """Named shares of what the heads get right, (batch,) each, in [0, 1]; NaN where nothing is asked."""
        del heads, outputs, labels
        return {}

    @property
    def chances(self) -> Mapping[str, float]:
        """What guessing would score, for each of `head_scores`."""
        return {}

    def chances_among(self, labels: Labels) -> Mapping[str, float]:
        """What guessing would give on patches with these labels, by name; `chances` where classes are balanced."""
        del labels
        return self.chances

    def enter_step(self, heads: nn.Module | None, step: int, progress: float) -> None:
        """Prepare the heads for a training step, at a share of the run in [0, 1]; the same in every process."""
        del heads, step, progress

    def loss_weights(self, progress: float) -> Mapping[str, float]:
        """Factors of losses in training at a share of the run in [0, 1], besides 1 for those that are not named."""
        del progress
        return {}

    @property
    def minimum_validation_patches(self) -> int:
        """Held-out patches that its scores need to say anything."""
        return 0

    def training_patches(self, sources: Sequence[Source], config: PretrainingConfig) -> CasePatches:
        """The patches that a run learns from: here from anywhere in the cases."""
        return PatchDataset.for_training(sources, self.patch_size, config)

    def validation_patches(self, source: Source, config: PretrainingConfig) -> CasePatches | None:
        """Patches of the held-out cases of one source, or None where the pretext cannot use any."""
        return PatchDataset.for_validation(source, self.patch_size, config)

    def summary(self, spacing: tuple[float, ...]) -> list[str]:
        """What its settings come to in these plans, a line each; spacing in millimetres per axis."""
        del spacing
        return []

    def settings(self) -> dict[str, Any]:
        """What a checkpoint tells of this pretext, in plain values."""
        return {}


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
