"""Non-linear intensity: a monotone cubic Bezier curve per channel (Models Genesis, arXiv 1908.06912).

The curve runs through (0, 0), two random points of the unit square, and (1, 1) in normalised units u; half of the
curves are decreasing (contrast inverted). Control points inside the unit square make both x(t) and y(t) monotone, so
every curve is. Outside [0, 1] the curve goes on linearly with slope 1 (or -1): intensities beyond the percentiles that
define u keep their order and never collapse to one value (ours).

Patches stay in the units of the preprocessed data: the way to u and back is part of the table of a curve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from nnunet_genesis.pretraining.distortions.boxes import chunks_of_box, scratch, to_device, whole_box
from nnunet_genesis.pretraining.distortions.curves import tabulate_curve
from nnunet_genesis.pretraining.distortions.parameters import BatchParameters, sample_occurrence

if TYPE_CHECKING:
    from nnunet_genesis.pretraining.intensities import IntensityRange


@dataclass(frozen=True)
class IntensityCurves(BatchParameters):
    """Sampled curves.

    Attributes:
        applied: (batch,) bool, whether the sample is distorted at all.
        control_points: (batch, channels, 2, 2) in [0, 1]: two inner points, each (x, y).
        decreasing: (batch, channels) bool, whether the curve runs from (0, 1) to (1, 0).
    """

    applied: torch.Tensor
    control_points: torch.Tensor
    decreasing: torch.Tensor

    def word(self, sample: int) -> str:
        """A word for the curves of a sample that is distorted."""
        return "inverted" if self.decreasing[sample].any() else "non-linear"

    def explain(self, sample: int) -> str:
        """Name the curves of one sample, channel by channel."""
        if not self.applied[sample]:
            return "intensities as they were"
        curves = []
        for points, decreasing in zip(self.control_points[sample], self.decreasing[sample].tolist(), strict=True):
            through = " and ".join(f"({x:.2f}, {y:.2f})" for x, y in points.tolist())
            curves.append(f"{'falling' if decreasing else 'rising'} with control points {through}")
        return f"intensity curve {'; '.join(curves)}"


def sample_intensity_curves(
    batch_size: int, num_channels: int, generator: torch.Generator, *, probability: float = 0.9
) -> IntensityCurves:
    """Draw one curve per channel of every sample."""
    return IntensityCurves(
        applied=sample_occurrence(batch_size, probability, generator),
        control_points=torch.rand(batch_size, num_channels, 2, 2, generator=generator),
        decreasing=torch.rand(batch_size, num_channels, generator=generator) < 0.5,
    )


@dataclass(frozen=True)
class ChannelMap:
    """The curve of one channel as a table over its intensities.

    Attributes:
        scale: Cells of the table per unit of intensity.
        shift: Cell number of intensity 0.
        cells: Number of the last cell.
        starts: (cells + 1,) float32, intensity where a cell begins.
        rises: (cells + 1,) float32, by how much it changes from a cell's begin to its end.
    """

    scale: float
    shift: float
    cells: int
    starts: torch.Tensor
    rises: torch.Tensor

    def write(self, values: torch.Tensor, out: torch.Tensor) -> None:
        """Map float32 values on the CPU, of any shape, into memory of the same shape."""
        shape = tuple(values.shape)
        position, cell = scratch("position", shape, torch.float32), scratch("cell", shape, torch.float32)
        number, start = scratch("number", shape, torch.int32), scratch("start", shape, torch.float32)
        torch.add(torch.tensor(self.shift), values, alpha=self.scale, out=position)
        torch.clamp(position, 0, self.cells, out=cell).floor_()
        # What is not a number becomes 0 here and cannot point outside the table.
        number.copy_(cell).clamp_(min=0)
        position -= cell
        torch.index_select(self.starts, 0, number.view(-1), out=start.view(-1))
        torch.index_select(self.rises, 0, number.view(-1), out=cell.view(-1))
        torch.addcmul(start, cell, position, out=out)


def find_channel_maps(parameters: IntensityCurves, sample: int, intensities: IntensityRange) -> list[ChannelMap]:
    """Tabulate the curves of one sample, one per channel."""
    maps = []
    for channel, (low, width) in enumerate(zip(intensities.low, intensities.width, strict=True)):
        points, decreasing = parameters.control_points[sample, channel], parameters.decreasing[sample, channel]
        table = tabulate_curve(points, decreasing=bool(decreasing))
        scale = table.cells / width
        starts, rises = (low + width * table.starts).float(), (width * table.rises).float()
        maps.append(ChannelMap(scale, 1 - low * scale, table.cells + 1, starts, rises))
    return maps


def apply_intensity_curves(
    patches: torch.Tensor, parameters: IntensityCurves, intensities: IntensityRange
) -> torch.Tensor:
    """Map every channel through its curve.

    Args:
        patches: (batch, channels, *spatial) float32; values outside the range are welcome.
        parameters: Sampled curves.
        intensities: What u = 0 and u = 1 stand for in each channel.

    Returns:
        New tensor of the same shape.
    """
    if patches.device.type != "cpu":
        return apply_intensity_curves_batched(patches, parameters, intensities)
    result = torch.empty_like(patches)
    for sample, (patch, mapped) in enumerate(zip(patches, result, strict=True)):
        if not parameters.applied[sample]:
            mapped.copy_(patch)
            continue
        maps = find_channel_maps(parameters, sample, intensities)
        for channel_map, channel, mapped_channel in zip(maps, patch, mapped, strict=True):
            for chunk in chunks_of_box(whole_box(tuple(channel.shape))):
                channel_map.write(channel[chunk], mapped_channel[chunk])
    return result


def apply_intensity_curves_batched(
    patches: torch.Tensor, parameters: IntensityCurves, intensities: IntensityRange
) -> torch.Tensor:
    """As `apply_intensity_curves`, on a whole batch at once: the way of accelerators."""
    # The tables of all channels follow each other in memory.
    batch_size, num_channels = patches.shape[:2]
    straight = replace(
        parameters, control_points=torch.tensor([[1 / 3, 1 / 3], [2 / 3, 2 / 3]]).expand_as(parameters.control_points)
    )
    # A straight line is tabulated at once; where nothing is applied, it is not used.
    drawn = [parameters if applied else straight for applied in parameters.applied.tolist()]
    maps = [m for sample, own in enumerate(drawn) for m in find_channel_maps(own, sample, intensities)]
    device, shape = patches.device, (batch_size, num_channels, *[1] * (patches.ndim - 2))
    scale, shift = (
        to_device(torch.tensor(values).view(shape), device)
        for values in zip(*((m.scale, m.shift) for m in maps), strict=True)
    )
    sizes = torch.tensor([len(m.starts) for m in maps])
    last, first = (to_device(values.int().view(shape), device) for values in (sizes - 1, sizes.cumsum(0) - sizes))
    position = torch.addcmul(shift, patches, scale)
    cell = position.floor().clamp_(min=0)
    torch.minimum(cell, last, out=cell)
    position -= cell
    # What is not a number becomes 0 and cannot point outside the table.
    number = (cell.int().clamp_(min=0) + first).view(-1)
    starts, rises = (to_device(torch.cat(t), device) for t in zip(*((m.starts, m.rises) for m in maps), strict=True))
    # What is needed no more is let go at once: beside the batch, four more of its size are alive here at most.
    del cell
    mapped = rises.index_select(0, number).view(patches.shape).mul_(position)
    del position
    mapped += starts.index_select(0, number).view(patches.shape)
    del number
    applied = to_device(parameters.applied.view(-1, *[1] * (patches.ndim - 1)), device)
    return torch.where(applied, mapped, patches)
