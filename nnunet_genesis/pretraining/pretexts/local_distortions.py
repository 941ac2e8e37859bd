"""Shuffling, non-linear intensity and painting, in this order: what Models Genesis and Semantic Genesis share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.pretraining.distortions.boxes import chunks_of_box
from nnunet_genesis.pretraining.distortions.intensity import (
    IntensityCurves,
    apply_intensity_curves_batched,
    find_channel_maps,
)
from nnunet_genesis.pretraining.distortions.painting import Painting, apply_painting_batched, paint_sample_
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters
from nnunet_genesis.pretraining.distortions.shuffling import (
    Shuffling,
    apply_shuffling_batched,
    find_moves,
    sample_shuffling,
)

if TYPE_CHECKING:
    import torch

    from nnunet_genesis.config import ShufflingConfig
    from nnunet_genesis.pretraining.distortions.boxes import Box
    from nnunet_genesis.pretraining.intensities import IntensityRange


@dataclass(frozen=True)
class LocalDistortions(BatchParameters):
    """The sampled distortions of one batch, in the order in which they are applied."""

    shuffling: Shuffling
    intensity: IntensityCurves
    painting: Painting

    def describe(self, sample: int) -> list[str]:
        """A word for each distortion that happens to one sample."""
        words = ["shuffled"] if self.shuffling.applied[sample] else []
        words += [self.intensity.word(sample)] if self.intensity.applied[sample] else []
        if self.painting.applied[sample]:
            words.append("out-painted" if self.painting.outside[sample] else "in-painted")
        return words

    def explain(self, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion that happens."""
        return [
            distortion.explain(sample)
            for distortion in (self.shuffling, self.intensity, self.painting)
            if distortion.applied[sample]
        ]


def draw_shuffling(
    config: ShufflingConfig, batch_size: int, patch_size: tuple[int, ...], generator: torch.Generator
) -> Shuffling:
    """Draw windows as configured."""
    return sample_shuffling(
        batch_size,
        patch_size,
        generator,
        probability=config.shuffling_probability,
        max_window_voxels=config.shuffling_max_window_voxels,
        coverage=config.shuffling_coverage,
    )


def apply_local_distortions(
    patches: torch.Tensor,
    parameters: LocalDistortions,
    intensities: IntensityRange,
    *,
    random_device: torch.device | None,
    out: torch.Tensor,
) -> None:
    """Distort patches; curves and noise are defined in normalised units.

    Args:
        patches: (batch, channels, *spatial) float32, contiguous.
        parameters: What was drawn.
        intensities: Per channel range of the data.
        random_device: Where noise is drawn; the patches' own device by default.
        out: Memory for the result, of the patches' shape and not theirs.
    """
    if patches.device.type == "cpu":
        for sample, (patch, result) in enumerate(zip(patches, out, strict=True)):
            _distort_sample(patch, parameters, sample, intensities, result)
        return
    shuffled = apply_shuffling_batched(patches, parameters.shuffling)
    mapped = apply_intensity_curves_batched(shuffled, parameters.intensity, intensities)
    apply_painting_batched(mapped, parameters.painting, intensities, random_device=random_device, out=out)


def _distort_sample(
    patch: torch.Tensor, parameters: LocalDistortions, sample: int, intensities: IntensityRange, result: torch.Tensor
) -> None:
    """Distort one patch (channels, *spatial) on the CPU, piece by piece, where no noise will cover it."""
    shuffled, mapped = bool(parameters.shuffling.applied[sample]), bool(parameters.intensity.applied[sample])
    moves = find_moves(parameters.shuffling, sample, tuple(patch.shape[1:])) if shuffled else None
    maps = find_channel_maps(parameters.intensity, sample, intensities) if mapped else []

    def draw_visible(box: Box) -> None:
        for chunk in chunks_of_box(box):
            here = (slice(None), *chunk)
            values = patch[here] if moves is None else moves.read(patch, chunk)
            if not maps:
                result[here] = values
            for channel_map, channel, mapped_channel in zip(maps, values, result[here], strict=bool(maps)):
                channel_map.write(channel, mapped_channel)

    paint_sample_(result, parameters.painting, sample, intensities, draw_visible)
