"""Painting (Models Genesis, arXiv 1908.06912): boxes of noise, or everything noise but some windows.

Published sizes, per axis of length n: in-painting boxes n/6 to n/3, up to five; out-painting windows 3/7 n to 4/7 n,
one to five; each further box with p = 0.95; a margin of three voxels to the border. Here every size is at least one
voxel and the margin shrinks where an axis cannot carry it, so that thin patches work (ours).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from nnunet_genesis.pretraining.distortions.boxes import Box, chunks_of_box, to_device, whole_box
from nnunet_genesis.pretraining.distortions.parameters import (
    BatchParameters,
    draw_seeds,
    sample_occurrence,
    sample_uniform_integers,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnunet_genesis.pretraining.intensities import IntensityRange

MAX_BOXES = 5
MARGIN = 3
"""Voxels between a box and the border of the patch, where the axis is long enough."""


@dataclass(frozen=True)
class Painting(BatchParameters):
    """Sampled boxes.

    Attributes:
        applied: (batch,) bool, whether the sample is painted at all.
        outside: (batch,) bool, True for out-painting (noise outside the boxes), False for in-painting.
        starts: (batch, MAX_BOXES, spatial axes) int64, first voxel of every box.
        sizes: (batch, MAX_BOXES, spatial axes) int64, sides in voxels; 0 for boxes that are not used.
        noise_seed: (batch,) int64.
    """

    applied: torch.Tensor
    outside: torch.Tensor
    starts: torch.Tensor
    sizes: torch.Tensor
    noise_seed: torch.Tensor

    def explain(self, sample: int) -> str:
        """Name the boxes of one sample."""
        sizes = [" x ".join(map(str, size)) for size in self.sizes[sample].tolist() if min(size) > 0]
        if not self.applied[sample] or not sizes:
            return "not painted"
        return f"noise {'around' if self.outside[sample] else 'in'} {len(sizes)} box(es): {', '.join(sizes)}"


def sample_painting(
    batch_size: int,
    patch_size: tuple[int, ...],
    generator: torch.Generator,
    *,
    probability: float = 0.9,
    outside_probability: float = 0.8,
    first_probability: float = 0.95,
    further_probability: float = 0.95,
) -> Painting:
    """Draw boxes for in-painting or out-painting: the first with one probability, each further one with another."""
    applied = sample_occurrence(batch_size, probability, generator)
    outside = sample_occurrence(batch_size, outside_probability, generator)
    shape = (batch_size, MAX_BOXES, len(patch_size))
    side = torch.tensor(patch_size).expand(shape)
    inside_low, inside_high = (side // 6).clamp(min=1), (side // 3).clamp(min=1)
    outside_low, outside_high = (side - 4 * side // 7).clamp(min=1), (side - 3 * side // 7).clamp(min=1)
    is_outside = outside[:, None, None]
    sizes = sample_uniform_integers(
        torch.where(is_outside, outside_low, inside_low), torch.where(is_outside, outside_high, inside_high), generator
    )
    slack = side - sizes
    margin = (slack // 2).clamp(max=MARGIN)
    starts = sample_uniform_integers(margin, slack - margin, generator)
    probabilities = torch.tensor([first_probability, *[further_probability] * (MAX_BOXES - 1)])
    goes_on = torch.rand(batch_size, MAX_BOXES, generator=generator) < probabilities
    goes_on[:, 0] |= outside  # out-painting always keeps one window
    used = goes_on.long().cumprod(1)
    return Painting(applied, outside, starts, sizes * used[:, :, None], draw_seeds(batch_size, generator))


def noise_and_visible_boxes(
    parameters: Painting, sample: int, patch_size: tuple[int, ...]
) -> tuple[list[Box], list[Box]]:
    """What to fill with noise and what to leave of one sample.

    Boxes overlap. Out-painting is the whole patch as noise, with the visible boxes put on it; in-painting and no
    painting are the whole patch visible, with the noise put on it.

    Returns:
        Boxes of noise, and boxes of visible voxels.
    """
    whole = [whole_box(patch_size)]
    if not parameters.applied[sample]:
        return [], whole
    boxes = [
        tuple(slice(first, first + side) for first, side in zip(start, size, strict=True))
        for start, size in zip(parameters.starts[sample].tolist(), parameters.sizes[sample].tolist(), strict=True)
        if min(size) > 0
    ]
    return (whole, boxes) if parameters.outside[sample] else (boxes, whole)


def painted_voxels(parameters: Painting, patch_size: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Tell which voxels become noise, whether or not the sample is painted.

    Returns:
        (batch, *patch_size) bool.
    """
    batch_size, num_axes = len(parameters.outside), len(patch_size)
    stops = parameters.starts + parameters.sizes
    on_axis = []
    for axis, side in enumerate(patch_size):
        position = torch.arange(side)
        inside = (position >= parameters.starts[:, :, axis, None]) & (position < stops[:, :, axis, None])
        shape = (batch_size, MAX_BOXES, *[side if a == axis else 1 for a in range(num_axes)])
        on_axis.append(to_device(inside.view(shape), device))
    outside = parameters.outside.view(batch_size, *[1] * num_axes)
    painted = to_device(outside, device).expand(batch_size, *patch_size).clone()
    in_any_box = torch.zeros_like(painted)
    for number in range(MAX_BOXES):
        in_box = on_axis[0][:, number]
        for inside in on_axis[1:]:
            in_box = in_box & inside[:, number]
        in_any_box |= in_box
    return painted.logical_xor_(in_any_box)


def apply_painting(
    patches: torch.Tensor,
    parameters: Painting,
    intensities: IntensityRange,
    *,
    random_device: torch.device | None = None,
) -> torch.Tensor:
    """Replace the painted voxels by noise, uniform over the range of the channel and independent in every voxel.

    Args:
        patches: (batch, channels, *spatial) float32.
        parameters: Sampled boxes.
        intensities: The range of each channel.
        random_device: Where the noise is drawn; the patches' own device by default.

    Returns:
        New tensor of the same shape.
    """
    if patches.device.type != "cpu":
        return apply_painting_batched(patches, parameters, intensities, random_device=random_device)
    result = torch.empty_like(patches)
    for sample, (patch, painted) in enumerate(zip(patches, result, strict=True)):

        def copy_visible(box: Box, patch: torch.Tensor = patch, painted: torch.Tensor = painted) -> None:
            painted[(slice(None), *box)] = patch[(slice(None), *box)]

        paint_sample_(painted, parameters, sample, intensities, copy_visible)
    return result


def apply_painting_batched(
    patches: torch.Tensor,
    parameters: Painting,
    intensities: IntensityRange,
    *,
    random_device: torch.device | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """As `apply_painting`, on a whole batch at once and into given memory: the way of accelerators."""
    if random_device is not None and random_device.type == "cpu":
        canvas = torch.zeros(patches.shape)
        for sample, patch in enumerate(canvas):
            paint_sample_(patch, parameters, sample, intensities, lambda _: None)
        noise = to_device(canvas, patches.device)
    else:
        noise = _draw_noise(patches, parameters, intensities)
    painted = painted_voxels(parameters, tuple(patches.shape[2:]), patches.device)
    painted &= to_device(parameters.applied.view(-1, *[1] * (painted.ndim - 1)), patches.device)
    result = torch.empty_like(patches) if out is None else out
    return torch.where(painted[:, None], noise, patches, out=result)


def paint_sample_(
    patch: torch.Tensor,
    parameters: Painting,
    sample: int,
    intensities: IntensityRange,
    draw_visible: Callable[[Box], None],
) -> None:
    """Paint one patch (channels, *spatial) on the CPU, in place, and have only its visible voxels drawn.

    Args:
        patch: Memory that is written all over.
        parameters: Sampled boxes.
        sample: Which sample of them the patch is.
        intensities: The range of each channel.
        draw_visible: Writes one visible box into `patch`.
    """
    noise, visible = noise_and_visible_boxes(parameters, sample, tuple(patch.shape[1:]))
    if parameters.outside[sample]:
        _fill_with_noise_(patch, noise, int(parameters.noise_seed[sample]), intensities)
    for box in visible:
        draw_visible(box)
    if not parameters.outside[sample]:
        _fill_with_noise_(patch, noise, int(parameters.noise_seed[sample]), intensities)


def _fill_with_noise_(patch: torch.Tensor, boxes: list[Box], seed: int, intensities: IntensityRange) -> None:
    """Fill boxes of a patch (channels, *spatial) on the CPU with noise in 65,536 steps, in place."""
    rng = np.random.Generator(np.random.SFC64(seed))
    for channel, low, width in zip(patch.numpy(), intensities.low, intensities.width, strict=True):
        step = width / 65536
        for box in boxes:
            for chunk in chunks_of_box(box):
                target = channel[chunk]
                bits = rng.integers(0, 1 << 64, size=-(-target.size // 4), dtype=np.uint64).view(np.uint16)
                np.multiply(bits[: target.size].reshape(target.shape), np.float32(step), out=target, dtype=np.float32)
                target += np.float32(low + step / 2)


def _draw_noise(patches: torch.Tensor, parameters: Painting, intensities: IntensityRange) -> torch.Tensor:
    """Draw noise for every voxel of a batch on its device, each sample from its own seed."""
    noise = torch.empty_like(patches)
    for sample, seed in enumerate(parameters.noise_seed.tolist()):
        noise[sample].uniform_(generator=torch.Generator(patches.device).manual_seed(seed))
    shape = (1, -1, *[1] * (patches.ndim - 2))
    low, width = (
        to_device(torch.tensor(values, dtype=patches.dtype).view(shape), patches.device)
        for values in (intensities.low, intensities.width)
    )
    return noise.mul_(width).add_(low)
