"""Non-linear intensity: a monotone cubic Bezier curve per channel (Models Genesis, arXiv 1908.06912).

The curve runs through (0, 0), two random points of the unit square, and (1, 1) in normalised units u; half of the
curves are decreasing (contrast inverted). Control points inside the unit square make both x(t) and y(t) monotone, so
every curve is. Outside [0, 1] the curve goes on linearly with slope 1 (or -1): intensities beyond the percentiles that
define u keep their order and never collapse to one value (ours).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_genesis.pretraining.distortions.parameters import BatchParameters, sample_occurrence

CURVE_POINTS = 2048
"""Points along the Bezier parameter t at which a curve is evaluated."""
TABLE_CELLS = 4096
"""Equal cells of [0, 1] in the table that intensities are looked up in, linearly interpolated."""


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


def sample_intensity_curves(
    batch_size: int, num_channels: int, generator: torch.Generator, *, probability: float = 0.9
) -> IntensityCurves:
    """Draw one curve per channel of every sample."""
    return IntensityCurves(
        applied=sample_occurrence(batch_size, probability, generator),
        control_points=torch.rand(batch_size, num_channels, 2, 2, generator=generator),
        decreasing=torch.rand(batch_size, num_channels, generator=generator) < 0.5,
    )


def curve_tables(control_points: torch.Tensor, decreasing: torch.Tensor) -> torch.Tensor:
    """Evaluate curves at the borders of `TABLE_CELLS` equal cells of [0, 1].

    Args:
        control_points: (..., 2, 2), inner points (x, y) in [0, 1].
        decreasing: (...) bool.

    Returns:
        (..., TABLE_CELLS + 1) float64 in [0, 1], monotone along the last axis.
    """
    t = torch.linspace(0, 1, CURVE_POINTS, dtype=torch.float64)
    inner = control_points.double()
    first, second = 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t)
    curve = inner[..., 0, :, None] * first + inner[..., 1, :, None] * second + t**3
    x, y = curve[..., 0, :].contiguous(), curve[..., 1, :]
    u = torch.linspace(0, 1, TABLE_CELLS + 1, dtype=torch.float64).expand(*x.shape[:-1], -1).contiguous()
    right = torch.searchsorted(x, u).clamp_(1, CURVE_POINTS - 1)
    x0, x1 = x.gather(-1, right - 1), x.gather(-1, right)
    y0, y1 = y.gather(-1, right - 1), y.gather(-1, right)
    table = y0 + (y1 - y0) * ((u - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
    return torch.where(decreasing[..., None], 1 - table, table)


def apply_intensity_curves(units: torch.Tensor, parameters: IntensityCurves) -> torch.Tensor:
    """Map every channel through its curve.

    Args:
        units: (batch, channels, *spatial) in normalised units; values outside [0, 1] are welcome.
        parameters: Sampled curves.

    Returns:
        New tensor of the same shape.
    """
    result = units.clone()
    chosen = parameters.applied.nonzero()[:, 0].tolist()
    if not chosen:
        return result
    tables = curve_tables(parameters.control_points[chosen], parameters.decreasing[chosen])
    starts = tables[..., :-1].to(units.dtype).to(units.device)
    rises = tables.diff(dim=-1).to(units.dtype).to(units.device)
    slopes = (1 - 2 * parameters.decreasing[chosen].to(units.dtype)).to(units.device)
    for sample, start, rise, slope in zip(chosen, starts, rises, slopes, strict=True):
        for channel in range(units.shape[1]):
            u = units[sample, channel]
            inside = u.clamp(0, 1)
            position = inside * TABLE_CELLS
            cell = position.int().clamp_(max=TABLE_CELLS - 1)
            flat = cell.flatten()
            value = start[channel].index_select(0, flat).view_as(u)
            value.addcmul_(rise[channel].index_select(0, flat).view_as(u), position.sub_(cell))
            result[sample, channel] = value.addcmul_(u - inside, slope[channel])
    return result
