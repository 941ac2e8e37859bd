"""Models Genesis (Zhou et al., MICCAI 2019, arXiv 1908.06912; Medical Image Analysis 2021, arXiv 2004.07882)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.pretraining.distortions.intensity import (
    IntensityCurves,
    apply_intensity_curves,
    sample_intensity_curves,
)
from nnunet_genesis.pretraining.distortions.mirroring import Mirroring, apply_mirroring, sample_mirroring
from nnunet_genesis.pretraining.distortions.painting import Painting, apply_painting, sample_painting
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters
from nnunet_genesis.pretraining.distortions.shuffling import Shuffling, apply_shuffling, sample_shuffling
from nnunet_genesis.pretraining.pretexts.base import RestorationPairs, restoration_error

if TYPE_CHECKING:
    import torch

    from nnunet_genesis.config import ModelsGenesisConfig
    from nnunet_genesis.pretraining.intensities import IntensityRange


@dataclass(frozen=True)
class ModelsGenesisParameters(BatchParameters):
    """The sampled distortions of one batch, in the order in which they are applied."""

    mirroring: Mirroring
    shuffling: Shuffling
    intensity: IntensityCurves
    painting: Painting


class ModelsGenesis:
    """Restore a patch from its distorted version; loss is the mean squared error over the whole patch.

    Order (authors' code): flip input and target, shuffle, non-linear intensity, paint. All distortions see normalised
    units u; the target stays as nnU-Net normalised it, so the network's linear output lives in nnU-Net's own units.

    Args:
        config: Probabilities and sizes.
        patch_size: Voxels per axis, two or three entries.
        intensities: Per channel range of the data.
    """

    citations = (
        "Zhou et al., Models Genesis: Generic Autodidactic Models for 3D Medical Image Analysis, MICCAI 2019,"
        " arXiv 1908.06912",
        "Zhou et al., Models Genesis, Medical Image Analysis 67, 2021, arXiv 2004.07882",
    )

    def __init__(self, config: ModelsGenesisConfig, patch_size: tuple[int, ...], intensities: IntensityRange) -> None:
        self.config, self.patch_size, self.intensities = config, patch_size, intensities

    def sample(self, batch_size: int, generator: torch.Generator) -> ModelsGenesisParameters:
        """Draw the parameters of one batch."""
        config = self.config
        return ModelsGenesisParameters(
            mirroring=sample_mirroring(
                batch_size, len(self.patch_size), generator, probability=config.mirror_probability
            ),
            shuffling=sample_shuffling(
                batch_size,
                self.patch_size,
                generator,
                probability=config.shuffling_probability,
                max_window_voxels=config.shuffling_max_window_voxels,
                coverage=config.shuffling_coverage,
            ),
            intensity=sample_intensity_curves(
                batch_size, len(self.intensities.low), generator, probability=config.intensity_probability
            ),
            painting=sample_painting(
                batch_size,
                self.patch_size,
                generator,
                probability=config.painting_probability,
                outside_probability=config.outpainting_probability,
            ),
        )

    def make_pairs(
        self,
        patches: torch.Tensor,
        weight: torch.Tensor,
        parameters: ModelsGenesisParameters,
        random_device: torch.device | None = None,
    ) -> RestorationPairs:
        """Turn clean patches into pairs.

        Args:
            patches: (batch, channels, *patch_size), as nnU-Net normalised them.
            weight: (batch, 1, *patch_size), 0 on padding.
            parameters: What `sample` drew.
            random_device: Where noise and permutations are drawn; the patches' own device by default. A CPU device
                gives the same pair on every device.
        """
        target = apply_mirroring(patches, parameters.mirroring)
        units = self.intensities.to_units(target)
        units = apply_shuffling(units, parameters.shuffling, random_device=random_device)
        units = apply_intensity_curves(units, parameters.intensity)
        units = apply_painting(units, parameters.painting, random_device=random_device)
        return RestorationPairs(
            distorted=self.intensities.from_units(units),
            target=target,
            weight=apply_mirroring(weight, parameters.mirroring),
        )

    def describe(self, parameters: ModelsGenesisParameters) -> list[str]:
        """Name the distortions of every sample, e.g. "shuffled, inverted, out-painted"."""
        labels = []
        for number in range(parameters.painting.applied.shape[0]):
            one = parameters.select(slice(number, number + 1))
            words = ["shuffled"] if one.shuffling.applied[0] else []
            if one.intensity.applied[0]:
                words.append("inverted" if one.intensity.decreasing[0].any() else "non-linear")
            if one.painting.applied[0]:
                words.append("out-painted" if one.painting.outside[0] else "in-painted")
            labels.append(", ".join(words) or "undistorted")
        return labels

    def losses(self, output: torch.Tensor, pairs: RestorationPairs) -> dict[str, torch.Tensor]:
        """The restoration error, (batch,)."""
        return {"restoration": restoration_error(output, pairs)}
