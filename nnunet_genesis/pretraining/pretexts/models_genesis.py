"""Models Genesis (Zhou et al., MICCAI 2019, arXiv 1908.06912; Medical Image Analysis 2021, arXiv 2004.07882)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis.pretraining.distortions.intensity import sample_intensity_curves
from nnunet_genesis.pretraining.distortions.mirroring import (
    Mirroring,
    apply_mirroring,
    mirror_boxes,
    sample_mirroring,
)
from nnunet_genesis.pretraining.distortions.painting import sample_painting
from nnunet_genesis.pretraining.distortions.shuffling import describe_longest_window
from nnunet_genesis.pretraining.pretexts.base import Pretext, RestorationPairs, weight_inside
from nnunet_genesis.pretraining.pretexts.local_distortions import (
    LocalDistortions,
    apply_local_distortions,
    draw_shuffling,
)

if TYPE_CHECKING:
    from nnunet_genesis.config import ModelsGenesisConfig
    from nnunet_genesis.pretraining.intensities import IntensityRange


@dataclass(frozen=True)
class ModelsGenesisParameters(LocalDistortions):
    """The sampled distortions of one batch; mirroring comes first."""

    mirroring: Mirroring


class ModelsGenesis(Pretext[ModelsGenesisParameters]):
    """Restore a patch from its distorted version; loss is the mean squared error over the whole patch.

    Order (authors' code): flip input and target, shuffle, non-linear intensity, paint. Curves and noise are defined in
    normalised units u; input and target are in nnU-Net's own units, and so is the network's linear output.

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
            shuffling=draw_shuffling(config, batch_size, self.patch_size, generator),
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
        inside: torch.Tensor,
        parameters: ModelsGenesisParameters,
        *,
        random_device: torch.device | None = None,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Turn clean patches into pairs, see `Pretext.make_pairs`."""
        target = apply_mirroring(patches, parameters.mirroring, out=None if out is None else out.target)
        distorted = torch.empty_like(target) if out is None else out.distorted
        apply_local_distortions(target, parameters, self.intensities, random_device=random_device, out=distorted)
        mirrored_inside = mirror_boxes(inside, parameters.mirroring, self.patch_size)
        return RestorationPairs(distorted, target, weight_inside(mirrored_inside, self.patch_size, patches.device))

    def describe(self, parameters: ModelsGenesisParameters) -> list[str]:
        """Name the distortions of every sample, e.g. "shuffled, inverted, out-painted"."""
        return [", ".join(parameters.describe(n)) or "undistorted" for n in range(len(parameters.painting.applied))]

    def explain(self, parameters: ModelsGenesisParameters, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion that happened."""
        mirroring = parameters.mirroring
        lines = [mirroring.explain(sample)] if mirroring.mirrored[sample].any() else []
        return [*lines, *parameters.explain(sample)] or ["undistorted"]

    def summary(self, spacing: tuple[float, ...]) -> list[str]:
        """How large shuffling windows become."""
        return [describe_longest_window(self.patch_size, self.config.shuffling_max_window_voxels, spacing)]

    def settings(self) -> dict[str, Any]:
        """Probabilities and sizes."""
        return asdict(self.config)

    def separate(self) -> dict[str, ModelsGenesis]:
        """Each distortion alone, by its name, for pictures; in-painting still draws no box for 5 % of the samples."""
        nothing = replace(
            self.config, mirror_probability=0, shuffling_probability=0, intensity_probability=0, painting_probability=0
        )
        configs = {
            "mirroring": replace(nothing, mirror_probability=1),
            "shuffling": replace(nothing, shuffling_probability=1),
            "non-linear intensity": replace(nothing, intensity_probability=1),
            "in-painting": replace(nothing, painting_probability=1, outpainting_probability=0),
            "out-painting": replace(nothing, painting_probability=1, outpainting_probability=1),
        }
        return {name: ModelsGenesis(one, self.patch_size, self.intensities) for name, one in configs.items()}
