"""Masked restoration: most blocks of a patch are hidden and shall be restored (masked auto-encoders for 3D CNNs)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.distortions.masking import (
    Masking,
    blocks_per_axis,
    fill_masked,
    fill_values,
    masked_blocks,
    masked_voxels,
    sample_masking,
)
from nnunet_genesis.pretraining.distortions.mirroring import (
    Mirroring,
    apply_mirroring,
    mirror_boxes,
    sample_mirroring,
)
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters
from nnunet_genesis.pretraining.pretexts.base import Pretext, RestorationPairs, restoration_error, weight_inside

if TYPE_CHECKING:
    from nnunet_genesis.config import MaskedConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.intensities import IntensityRange

CITATIONS = (
    "Wald et al., Revisiting MAE pre-training for 3D medical image segmentation, CVPR 2025, arXiv 2410.23132",
    "Wald et al., An OpenMind for 3D medical vision self-supervised learning, arXiv 2412.17041",
)


@dataclass(frozen=True)
class MaskedParameters(BatchParameters):
    """What is mirrored and what is hidden in one batch."""

    mirroring: Mirroring
    masking: Masking


class Masked(Pretext[MaskedParameters]):
    """Restore hidden blocks from what stays visible; loss is the mean squared error over hidden voxels alone.

    Input and target are mirrored together, as in Models Genesis. Skip connections stay: the input has nothing in hidden
    blocks that they could carry.

    Args:
        config: Shares and probabilities.
        patch_size: Voxels per axis, two or three entries.
        intensities: Per channel range of the data.
        block: Voxels of a block per axis, see `find_block`.
    """

    citations = CITATIONS

    def __init__(
        self, config: MaskedConfig, patch_size: tuple[int, ...], intensities: IntensityRange, block: tuple[int, ...]
    ) -> None:
        self.config, self.patch_size, self.intensities, self.block = config, patch_size, intensities, block

    def sample(self, batch_size: int, generator: torch.Generator) -> MaskedParameters:
        """Draw the parameters of one batch."""
        config = self.config
        return MaskedParameters(
            mirroring=sample_mirroring(
                batch_size, len(self.patch_size), generator, probability=config.mirror_probability
            ),
            masking=sample_masking(
                batch_size,
                self.patch_size,
                self.block,
                generator,
                ratio=config.mask_ratio,
                probability=config.mask_probability,
            ),
        )

    def make_pairs(
        self,
        patches: torch.Tensor,
        inside: torch.Tensor,
        parameters: MaskedParameters,
        *,
        random_device: torch.device | None = None,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Turn clean patches into pairs, see `Pretext.make_pairs`; nothing is drawn on a device."""
        del random_device
        target = apply_mirroring(patches, parameters.mirroring, out=None if out is None else out.target)
        return self.hide(target, target, inside, parameters, out=out)

    def hide(
        self,
        visible: torch.Tensor,
        target: torch.Tensor,
        inside: torch.Tensor,
        parameters: MaskedParameters,
        *,
        visible_weight: float = 0.0,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Hide blocks of patches that are mirrored, and perhaps distorted, already.

        Args:
            visible: (batch, channels, *patch_size), what the network sees where nothing is hidden.
            target: Same shape, what it shall restore.
            inside: (batch, spatial axes, 2) int64 on the CPU: what is no padding, before mirroring.
            parameters: What `sample` drew.
            visible_weight: Weight of visible voxels; hidden ones have 1, padding has 0.
            out: Earlier pairs; the memory of their input is used again.
        """
        mirrored_inside = mirror_boxes(inside, parameters.mirroring, self.patch_size)
        blocks = masked_blocks(parameters.masking, mirrored_inside, self.patch_size, self.block)
        masked = masked_voxels(blocks, self.patch_size, self.block, visible.device)
        distorted = fill_masked(
            visible, masked, fill_values(self.intensities), out=None if out is None else out.distorted
        )
        weight = weight_inside(mirrored_inside, self.patch_size, visible.device)
        return RestorationPairs(distorted, target, torch.where(masked, weight, visible_weight * weight))

    def describe(self, parameters: MaskedParameters) -> list[str]:
        """Name the hidden share of every sample, e.g. "masked 72 %"."""
        masking = parameters.masking
        return [
            f"masked {100 * ratio:.0f} %" if applied else "not masked"
            for ratio, applied in zip(masking.ratios.tolist(), masking.applied.tolist(), strict=True)
        ]

    def explain(self, parameters: MaskedParameters, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion that happened."""
        mirroring, masking = parameters.mirroring, parameters.masking
        lines = [mirroring.explain(sample)] if mirroring.mirrored[sample].any() else []
        lines += [f"{masking.explain(sample)}, {_times(self.block)} voxels each"] if masking.applied[sample] else []
        return lines or ["undistorted"]

    def summary(self, spacing: tuple[float, ...]) -> list[str]:
        """How large blocks are, and how many."""
        in_mm = " x ".join(f"{edge * mm:.1f}" for edge, mm in zip(self.block, spacing, strict=True))
        counts = _times(blocks_per_axis(self.patch_size, self.block))
        low, high = (f"{100 * share:.0f}" for share in self.config.mask_ratio)
        return [
            f"blocks: {_times(self.block)} voxels, {in_mm} mm; {low} to {high} % of {counts} hidden,"
            f" filled with {', '.join(f'{value:.3g}' for value in fill_values(self.intensities))}"
        ]

    def settings(self) -> dict[str, Any]:
        """Shares, probabilities, and the block that they came to."""
        return {**asdict(self.config), "block": list(self.block)}

    def separate(self) -> dict[str, Masked]:
        """Each distortion alone, by its name, for pictures."""
        configs = {
            "mirroring": replace(self.config, mirror_probability=1, mask_probability=0),
            "masking": replace(self.config, mirror_probability=0),
        }
        return {name: Masked(one, self.patch_size, self.intensities, self.block) for name, one in configs.items()}

    def restoration_losses(self, restored: torch.Tensor, pairs: RestorationPairs) -> dict[str, torch.Tensor]:
        """The restoration error over hidden voxels, (batch,)."""
        return {"masked": restoration_error(restored, pairs)}


def find_block(config: MaskedConfig, planned: PlannedConfiguration) -> tuple[int, ...]:
    """Voxels of a block per axis: as configured, else one cell of the network's deepest stage.

    Raises:
        SetupError: If the configured block has another number of axes than the patch, if the plans tell no strides, or
            if one block covers the patch.
    """
    block = _configured_block(config, planned) if config.mask_block else planned.total_strides()
    if math.prod(blocks_per_axis(planned.patch_size, block)) < 2:
        smaller = " ".join(str(max(1, side // 4)) for side in planned.patch_size)
        raise SetupError(
            f"one block of {_times(block)} voxels covers the patch of {_times(planned.patch_size)}:"
            " nothing stays visible",
            mend=f"--mask-block {smaller}",
        )
    return block


def _configured_block(config: MaskedConfig, planned: PlannedConfiguration) -> tuple[int, ...]:
    num_axes = len(planned.patch_size)
    block = config.mask_block * num_axes if len(config.mask_block) == 1 else config.mask_block
    if len(block) != num_axes:
        raise SetupError(
            f"--mask-block {' '.join(map(str, block))}: {planned.configuration} has {num_axes} axes",
            mend=f"--mask-block with one number, or with {num_axes}",
        )
    return block


def _times(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))
