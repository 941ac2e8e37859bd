"""Masked Genesis (ours): most blocks are hidden, and what stays visible is distorted as in Models Genesis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nnunet_genesis.pretraining.distortions.intensity import (
    IntensityCurves,
    apply_intensity_curves,
    sample_intensity_curves,
)
from nnunet_genesis.pretraining.distortions.low_resolution import (
    LowResolution,
    apply_low_resolution,
    sample_low_resolution,
)
from nnunet_genesis.pretraining.distortions.mirroring import apply_mirroring
from nnunet_genesis.pretraining.distortions.noise import Noise, apply_noise, sample_noise
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters
from nnunet_genesis.pretraining.distortions.shuffling import (
    Shuffling,
    apply_shuffling,
    describe_longest_window,
)
from nnunet_genesis.pretraining.pretexts.base import Pretext, RestorationPairs, restoration_error
from nnunet_genesis.pretraining.pretexts.local_distortions import draw_shuffling
from nnunet_genesis.pretraining.pretexts.masked import CITATIONS, Masked, MaskedParameters
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis

if TYPE_CHECKING:
    import torch

    from nnunet_genesis.config import MaskedGenesisConfig
    from nnunet_genesis.pretraining.intensities import IntensityRange


@dataclass(frozen=True)
class MaskedGenesisParameters(BatchParameters):
    """The sampled distortions of one batch, in the order in which they are applied, but for `masked`."""

    masked: MaskedParameters
    shuffling: Shuffling
    intensity: IntensityCurves
    low_resolution: LowResolution
    noise: Noise


class MaskedGenesis(Pretext[MaskedGenesisParameters]):
    """Restore hidden blocks, and what the visible ones were before they were distorted.

    Order (ours): mirror input and target, shuffle, non-linear intensity, low resolution, noise, hide. The loss is the
    mean squared error over hidden voxels plus `visible_weight` times that over visible ones.

    Args:
        config: Shares, probabilities and sizes.
        patch_size: Voxels per axis, two or three entries.
        intensities: Per channel range of the data.
        block: Voxels of a block per axis, see `masked.find_block`.
    """

    citations = (*CITATIONS, *ModelsGenesis.citations)

    def __init__(
        self,
        config: MaskedGenesisConfig,
        patch_size: tuple[int, ...],
        intensities: IntensityRange,
        block: tuple[int, ...],
    ) -> None:
        self.config, self.patch_size, self.intensities = config, patch_size, intensities
        self.masked = Masked(config, patch_size, intensities, block)

    def sample(self, batch_size: int, generator: torch.Generator) -> MaskedGenesisParameters:
        """Draw the parameters of one batch."""
        config, num_channels = self.config, len(self.intensities.low)
        return MaskedGenesisParameters(
            masked=self.masked.sample(batch_size, generator),
            shuffling=draw_shuffling(config, batch_size, self.patch_size, generator),
            intensity=sample_intensity_curves(
                batch_size, num_channels, generator, probability=config.intensity_probability
            ),
            low_resolution=sample_low_resolution(
                batch_size,
                self.patch_size,
                generator,
                probability=config.low_resolution_probability,
                max_factor=config.low_resolution_max_factor,
            ),
            noise=sample_noise(
                batch_size,
                num_channels,
                generator,
                probability=config.noise_probability,
                max_deviation=config.noise_max_deviation,
            ),
        )

    def make_pairs(
        self,
        patches: torch.Tensor,
        inside: torch.Tensor,
        parameters: MaskedGenesisParameters,
        *,
        random_device: torch.device | None = None,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Turn clean patches into pairs, see `Pretext.make_pairs`."""
        target = apply_mirroring(patches, parameters.masked.mirroring, out=None if out is None else out.target)
        visible = apply_shuffling(target, parameters.shuffling)
        visible = apply_intensity_curves(visible, parameters.intensity, self.intensities)
        visible = apply_low_resolution(visible, parameters.low_resolution)
        visible = apply_noise(visible, parameters.noise, self.intensities, random_device=random_device)
        return self.masked.hide(
            visible, target, inside, parameters.masked, visible_weight=self.config.visible_weight, out=out
        )

    def describe(self, parameters: MaskedGenesisParameters) -> list[str]:
        """Name the distortions of every sample, e.g. "masked 68 %, shuffled, inverted, coarse, noisy"."""
        labels = []
        for sample, masked in enumerate(self.masked.describe(parameters.masked)):
            words = ["shuffled"] if parameters.shuffling.applied[sample] else []
            words += [parameters.intensity.word(sample)] if parameters.intensity.applied[sample] else []
            words += ["coarse"] if parameters.low_resolution.applied[sample] else []
            words += ["noisy"] if parameters.noise.applied[sample] else []
            labels.append(", ".join([masked, *words]))
        return labels

    def explain(self, parameters: MaskedGenesisParameters, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion that happened."""
        lines = self.masked.explain(parameters.masked, sample)
        parts = (parameters.shuffling, parameters.intensity, parameters.low_resolution, parameters.noise)
        distorted = [part.explain(sample) for part in parts if part.applied[sample]]
        return [*(line for line in lines if line != "undistorted" or not distorted), *distorted]

    def summary(self, spacing: tuple[float, ...]) -> list[str]:
        """How large blocks and shuffling windows are."""
        window = describe_longest_window(self.patch_size, self.config.shuffling_max_window_voxels, spacing)
        return [*self.masked.summary(spacing), window]

    def settings(self) -> dict[str, Any]:
        """Shares, probabilities, sizes, and the block that they came to."""
        return self.masked.settings()

    def separate(self) -> dict[str, MaskedGenesis]:
        """Each distortion alone, by its name, for pictures."""
        nothing = replace(
            self.config,
            mirror_probability=0,
            mask_probability=0,
            shuffling_probability=0,
            intensity_probability=0,
            low_resolution_probability=0,
            noise_probability=0,
        )
        configs = {
            "mirroring": replace(nothing, mirror_probability=1),
            "masking": replace(nothing, mask_probability=1),
            "shuffling": replace(nothing, shuffling_probability=1),
            "non-linear intensity": replace(nothing, intensity_probability=1),
            "low resolution": replace(nothing, low_resolution_probability=1),
            "noise": replace(nothing, noise_probability=1),
        }
        return {
            name: MaskedGenesis(one, self.patch_size, self.intensities, self.masked.block)
            for name, one in configs.items()
        }

    def restoration_losses(self, restored: torch.Tensor, pairs: RestorationPairs) -> dict[str, torch.Tensor]:
        """The error over hidden voxels, and the weighted one over visible ones: means over their own, (batch,) each."""
        hidden = pairs.weight == 1
        losses = {"masked": restoration_error(restored, replace(pairs, weight=hidden.float()))}
        if self.config.visible_weight:
            visible = (pairs.weight > 0) & ~hidden
            error = restoration_error(restored, replace(pairs, weight=visible.float()))
            losses["visible"] = self.config.visible_weight * error
        return losses
