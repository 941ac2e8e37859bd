"""Models Genesis (Zhou et al., MICCAI 2019, arXiv 1908.06912; Medical Image Analysis 2021, arXiv 2004.07882)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from nnunet_genesis.pretraining.distortions.boxes import chunks_of_box
from nnunet_genesis.pretraining.distortions.intensity import (
    IntensityCurves,
    apply_intensity_curves_batched,
    find_channel_maps,
    sample_intensity_curves,
)
from nnunet_genesis.pretraining.distortions.mirroring import (
    Mirroring,
    apply_mirroring,
    mirror_boxes,
    sample_mirroring,
)
from nnunet_genesis.pretraining.distortions.painting import (
    Painting,
    apply_painting_batched,
    paint_sample_,
    sample_painting,
)
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters
from nnunet_genesis.pretraining.distortions.shuffling import (
    Shuffling,
    apply_shuffling_batched,
    find_moves,
    sample_shuffling,
)
from nnunet_genesis.pretraining.pretexts.base import Pretext, RestorationPairs, weight_inside

if TYPE_CHECKING:
    from nnunet_genesis.config import ModelsGenesisConfig
    from nnunet_genesis.pretraining.distortions.boxes import Box
    from nnunet_genesis.pretraining.intensities import IntensityRange


@dataclass(frozen=True)
class ModelsGenesisParameters(BatchParameters):
    """The sampled distortions of one batch, in the order in which they are applied."""

    mirroring: Mirroring
    shuffling: Shuffling
    intensity: IntensityCurves
    painting: Painting


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
        inside: torch.Tensor,
        parameters: ModelsGenesisParameters,
        *,
        random_device: torch.device | None = None,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Turn clean patches into pairs, see `Pretext.make_pairs`."""
        target = apply_mirroring(patches, parameters.mirroring, out=None if out is None else out.target)
        distorted = torch.empty_like(target) if out is None else out.distorted
        if patches.device.type == "cpu":
            for sample, (patch, result) in enumerate(zip(target, distorted, strict=True)):
                self._distort_sample(patch, parameters, sample, result)
        else:
            self._distort_batch(target, parameters, distorted, random_device)
        mirrored_inside = mirror_boxes(inside, parameters.mirroring, self.patch_size)
        return RestorationPairs(distorted, target, weight_inside(mirrored_inside, self.patch_size, patches.device))

    def _distort_sample(
        self, patch: torch.Tensor, parameters: ModelsGenesisParameters, sample: int, result: torch.Tensor
    ) -> None:
        """Distort one patch (channels, *patch_size) on the CPU, piece by piece, where no noise will cover it."""
        shuffled, mapped = bool(parameters.shuffling.applied[sample]), bool(parameters.intensity.applied[sample])
        moves = find_moves(parameters.shuffling, sample, self.patch_size) if shuffled else None
        maps = find_channel_maps(parameters.intensity, sample, self.intensities) if mapped else []

        def draw_visible(box: Box) -> None:
            for chunk in chunks_of_box(box):
                here = (slice(None), *chunk)
                values = patch[here] if moves is None else moves.read(patch, chunk)
                if not maps:
                    result[here] = values
                for channel_map, channel, mapped_channel in zip(maps, values, result[here], strict=bool(maps)):
                    channel_map.write(channel, mapped_channel)

        paint_sample_(result, parameters.painting, sample, self.intensities, draw_visible)

    def _distort_batch(
        self,
        patches: torch.Tensor,
        parameters: ModelsGenesisParameters,
        result: torch.Tensor,
        random_device: torch.device | None,
    ) -> None:
        """Distort a whole batch at once, on its device."""
        shuffled = apply_shuffling_batched(patches, parameters.shuffling)
        mapped = apply_intensity_curves_batched(shuffled, parameters.intensity, self.intensities)
        apply_painting_batched(mapped, parameters.painting, self.intensities, random_device=random_device, out=result)

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

    def explain(self, parameters: ModelsGenesisParameters, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion that happened."""
        mirroring, shuffling = parameters.mirroring, parameters.shuffling
        lines = [mirroring.explain(sample)] if mirroring.mirrored[sample].any() else []
        lines += [shuffling.explain(sample)] if shuffling.applied[sample] else []
        lines += [parameters.intensity.explain(sample)] if parameters.intensity.applied[sample] else []
        lines += [parameters.painting.explain(sample)] if parameters.painting.applied[sample] else []
        return lines or ["undistorted"]

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
