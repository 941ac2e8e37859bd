"""Elastic deformation: smooth random displacements inside every slice (Semantic Genesis, arXiv 2007.06959).

The authors draw uniform noise of [-1, 1] per voxel, smooth it over all axes by a Gaussian of 8 voxels, and displace by
991 times the result along the first two axes of an (x, y, z) cube: about 3.8 voxels (standard deviation), never across
slices. Such a field has nothing finer than its Gaussian. Here it is the sum of Gaussians of the same width on knots one
width apart, each times a normal number: the same standard deviation and autocorrelation, from 170 times fewer random
numbers at 128^3. Knots lie up to three widths outside the patch, so that displacements are the same at its border and
inside; the authors' filter reflects the noise there, which makes displacements larger towards borders (ours).

Widths are in voxels whatever the patch, as published for sides of 64. Shorter sides have proportionally smaller widths
and displacements, sides below `SHORTEST_SIDE` none (ours). nnU-Net's arrays are (z, y, x): slices lie along the first
axis of a volume, and a 2D patch is one slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import grid_sample

from nnunet_genesis.pretraining.distortions.boxes import Box, chunks_of_box, to_device
from nnunet_genesis.pretraining.distortions.parameters import (
    BatchParameters,
    draw_normal,
    draw_seeds,
    sample_occurrence,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ALPHA, SIGMA = 991.0, 8.0
WIDTHS_PER_SIDE = 8
"""An axis in the plane has at least so many times the width of the Gaussian: 64 voxels have 8, as published."""
SHORTEST_SIDE = 16
"""Axes in the plane with fewer voxels stay whole."""
_WIDTHS_BEYOND = 3
"""Knots reach so many widths beyond the patch: the rest of a Gaussian's square is 1e-5."""


@dataclass(frozen=True)
class ElasticDeformation(BatchParameters):
    """Sampled displacements.

    Attributes:
        applied: (batch,) bool, whether the sample is deformed at all.
        deviations: (batch, 2) float32, standard deviation of the displacement along the last two axes in voxels.
        sigmas: (batch, 3) float32, width of the Gaussians in voxels across slices, and along the last two axes; the
            same for all samples.
        noise_seed: (batch,) int64.
    """

    applied: torch.Tensor
    deviations: torch.Tensor
    sigmas: torch.Tensor
    noise_seed: torch.Tensor

    def explain(self, sample: int) -> str:
        """Name the size of the displacements of one sample."""
        if not self.applied[sample]:
            return "not deformed"
        deviations, widths = (
            " and ".join(f"{value:.1f}" for value in values.tolist())
            for values in (self.deviations[sample], self.sigmas[sample, 1:])
        )
        return f"displaced by {deviations} voxels (standard deviation) along the last two axes, smooth over {widths}"


def displacement_deviation(alpha: float = ALPHA, sigma: float = SIGMA) -> float:
    """Standard deviation of alpha times uniform noise of [-1, 1], smoothed by a Gaussian over three axes."""
    return alpha / math.sqrt(3 * (2 * sigma * math.sqrt(math.pi)) ** 3)


def sample_elastic(
    batch_size: int,
    patch_size: tuple[int, ...],
    generator: torch.Generator,
    *,
    probability: float = 1.0,
    alpha: float = ALPHA,
    sigma: float = SIGMA,
) -> ElasticDeformation:
    """Draw which samples are deformed, and the seeds of their displacements."""
    plane = torch.tensor(patch_size[-2:], dtype=torch.float32)
    widths = (plane / WIDTHS_PER_SIDE).clamp(max=sigma)
    deviations = torch.where(plane >= SHORTEST_SIDE, displacement_deviation(alpha, sigma) / sigma * widths, 0.0)
    return ElasticDeformation(
        applied=sample_occurrence(batch_size, probability, generator) & bool((deviations > 0).any()),
        deviations=deviations.expand(batch_size, -1),
        sigmas=torch.tensor([sigma, *widths.tolist()]).expand(batch_size, -1),
        noise_seed=draw_seeds(batch_size, generator),
    )


def apply_elastic(
    patches: torch.Tensor, parameters: ElasticDeformation, inside: torch.Tensor, *, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Deform what is no padding; all channels share the displacements.

    Values are interpolated linearly. What would come from outside the scan, be it padding or beyond the patch, is the
    scan's value at its border (ours); padding stays as it is.

    Args:
        patches: (batch, channels, *spatial) float32.
        parameters: Sampled displacements.
        inside: (batch, spatial axes, 2) int64 on the CPU: first voxel that is no padding, and the one after them.
        out: Memory for the result, of the patches' shape; new by default.

    Returns:
        Tensor of the same shape, never the memory that came in.
    """
    if patches.device.type != "cpu":
        return apply_elastic_batched(patches, parameters, inside, out=out)
    result = torch.empty_like(patches) if out is None else out
    volumes, deformed, boxes = _as_volumes(patches), _as_volumes(result), _inside_boxes(inside)
    for sample, (volume, target, box) in enumerate(zip(volumes, deformed, boxes, strict=True)):
        whole = _is_whole(box, volume.shape[1:])
        if not (whole and parameters.applied[sample]):
            target.copy_(volume)
        if not parameters.applied[sample]:
            continue
        field = _Displacements.of(parameters.select(slice(sample, sample + 1)), volume.shape[1:], volume.device)
        slices, rows, columns = box
        for chunk, *_ in chunks_of_box((slices, *(slice(0, side) for side in volume.shape[2:]))):
            points = field.points(chunk, None if whole else inside[sample : sample + 1])
            values = _look_up(volume[None, :, chunk], points)[0]
            target[:, chunk, rows, columns] = values[..., rows, columns]
    return result


def apply_elastic_batched(
    patches: torch.Tensor, parameters: ElasticDeformation, inside: torch.Tensor, *, out: torch.Tensor | None = None
) -> torch.Tensor:
    """As `apply_elastic`, on a whole batch at once: the way of accelerators."""
    result = torch.empty_like(patches) if out is None else out
    volumes, target, boxes = _as_volumes(patches), _as_volumes(result), list(_inside_boxes(inside))
    sides = volumes.shape[2:]
    all_whole = all(_is_whole(box, sides) for box in boxes)
    field = _Displacements.of(parameters, sides, patches.device)
    deformed = _look_up(volumes, field.points(slice(0, sides[0]), None if all_whole else inside))
    if all_whole and parameters.applied.all():
        target.copy_(deformed)
        return result
    target.copy_(volumes)
    for sample, (slices, rows, columns) in enumerate(boxes):
        if parameters.applied[sample]:
            target[sample, :, slices, rows, columns] = deformed[sample, :, slices, rows, columns]
    return result


@dataclass(frozen=True)
class _Displacements:
    """Where the values of some volumes come from, with the sum over the knots across slices still to be done.

    Points are in the coordinates of `grid_sample`: (x, y), from -1 at the first edge of the plane to 1 at its last.

    Attributes:
        across: (batch, slices, knots), the Gaussians across slices.
        planes: (batch, knots, y * x * 2), displacements on the knots across slices.
        still: (1, 1, y * x * 2), the points of no displacement.
        plane: Voxels along y and x.
    """

    across: torch.Tensor
    planes: torch.Tensor
    still: torch.Tensor
    plane: tuple[int, int]

    @classmethod
    def of(cls, parameters: ElasticDeformation, sides: torch.Size, device: torch.device) -> _Displacements:
        """Draw the displacements of some volumes (slices, y, x)."""
        slices, height, width = sides
        gaussians = [
            torch.stack([_gaussians(side, sigma) for sigma in sigmas])
            for side, sigmas in zip(sides, parameters.sigmas.T.tolist(), strict=True)
        ]
        if slices == 1:
            gaussians[0] = torch.ones(len(parameters.applied), 1, 1)
        knots = tuple(axis.shape[-1] for axis in gaussians)
        # Drawn on the CPU whatever the device: few, and the same everywhere.
        noise = torch.stack([draw_normal((*knots, 2), seed) for seed in parameters.noise_seed.tolist()])
        # Deviations are (y, x), points are (x, y); a plane is 2 long.
        noise *= (parameters.deviations.flip(1) * 2 / torch.tensor([width, height])).view(-1, 1, 1, 1, 2)
        across, along_y, along_x = (to_device(axis, device) for axis in gaussians)
        planes = torch.einsum("byj,bzjka->bzyka", along_y, to_device(noise, device))
        planes = torch.einsum("bxk,bzyka->bzyxa", along_x, planes)
        y, x = ((2 * torch.arange(side) + 1) / side - 1 for side in (height, width))
        still = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1)
        return cls(across, planes.flatten(2), to_device(still.view(1, 1, -1), device), (height, width))

    def points(self, chunk: slice, inside: torch.Tensor | None) -> torch.Tensor:
        """Where the values of some slices come from.

        Args:
            chunk: The slices.
            inside: (batch, spatial axes, 2) on the CPU, what is no padding, or None where all is.

        Returns:
            (batch, slices, y, x, 2).
        """
        across = self.across[:, chunk]
        points = torch.baddbmm(self.still, across, self.planes).view(*across.shape[:2], *self.plane, 2)
        if inside is None:
            return points
        sides = torch.tensor(self.plane)
        voxels = torch.stack([inside[:, -2:, 0], inside[:, -2:, 1] - 1])
        limits = ((2 * voxels + 1) / sides - 1).flip(-1).view(2, -1, 1, 1, 1, 2)
        lowest, highest = to_device(limits, points.device)
        return torch.minimum(torch.maximum(points, lowest, out=points), highest, out=points)


def _gaussians(side: int, sigma: float) -> torch.Tensor:
    """Gaussians around knots that are `sigma` apart, at every voxel of an axis: (side, knots), squares add up to 1."""
    knots = math.ceil((side - 1) / sigma) + 2 * _WIDTHS_BEYOND + 1
    places = torch.arange(knots, dtype=torch.float64) - _WIDTHS_BEYOND
    distance = torch.arange(side, dtype=torch.float64)[:, None] / sigma - places
    heights = torch.exp(-distance.square() / 2)
    return (heights / heights.square().sum(1, keepdim=True).sqrt()).float()


def _look_up(volumes: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Interpolate every slice at its points: (batch, channels, slices, y, x) at (batch, slices, y, x, 2)."""
    batch_size, channels, slices, *plane = volumes.shape
    images = volumes.transpose(1, 2).reshape(-1, channels, *plane)
    # MPS has no border before torch 2.13 (pytorch issue 125098); elsewhere, pairs stay the same to the last bit.
    interpolate = _interpolate_clamped if volumes.device.type == "mps" else _interpolate
    return interpolate(images, points.flatten(0, 1)).view(batch_size, slices, channels, *plane).transpose(1, 2)


def _interpolate(images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Images (images, channels, y, x) at points (images, y, x, 2); beyond the border there is the border's value."""
    return grid_sample(images, points, padding_mode="border", align_corners=False)


def _interpolate_clamped(images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """As `_interpolate`, but for rounding at the border: of a value, at most 1e-7 times the voxels of a side."""
    height, width = images.shape[2:]
    centres_of_border = torch.tensor([1 - 1 / width, 1 - 1 / height], device=images.device)
    points = points.clamp(-centres_of_border, centres_of_border)
    return grid_sample(images, points, padding_mode="zeros", align_corners=False)


def _as_volumes(patches: torch.Tensor) -> torch.Tensor:
    """The same memory as (batch, channels, slices, y, x)."""
    return patches if patches.ndim == 5 else patches.unsqueeze(2)


def _inside_boxes(inside: torch.Tensor) -> Iterator[Box]:
    """What is no padding of every sample, with slices as the first axis."""
    for box in inside.tolist():
        yield tuple(slice(start, stop) for start, stop in [[0, 1]] * (3 - len(box)) + box)


def _is_whole(box: Box, sides: torch.Size) -> bool:
    return all(part.start == 0 and part.stop == side for part, side in zip(box, sides, strict=True))
