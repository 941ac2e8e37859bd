"""Cubic Bezier curves as tables of straight pieces, fine enough for the curve at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

FEWEST_CELLS, MOST_CELLS = 1 << 12, 1 << 16
"""Equal cells of [0, 1]: as many as a curve needs."""
TOLERANCE = 5e-6
"""Largest distance of a table from its curve in the middle of a cell, where `MOST_CELLS` allow it."""
POINTS_PER_CELL = 4
"""Points of the curve, equally spaced in the Bezier parameter t: they crowd together where the curve is steep."""


@dataclass(frozen=True)
class CurveTable:
    """A curve over u as straight pieces.

    Attributes:
        starts: (cells + 2,) float64, value where cell number `i` begins, at u = (i - 1) / cells. Cell 0 lies below 0
            and the last one above 1; both go on for ever.
        rises: (cells + 2,) float64, by how much the value changes from a cell's begin to its end.
    """

    starts: torch.Tensor
    rises: torch.Tensor

    @property
    def cells(self) -> int:
        """Number of cells between 0 and 1."""
        return len(self.starts) - 2


def tabulate_curve(control_points: torch.Tensor, *, decreasing: bool) -> CurveTable:
    """Make the table of the curve through (0, 0), two control points, and (1, 1).

    Args:
        control_points: (2, 2), inner points (x, y) in [0, 1].
        decreasing: Whether the curve runs from (0, 1) to (1, 0) instead. Outside [0, 1] it goes on with slope 1 or -1.
    """
    inner = control_points.double().numpy()
    cells = FEWEST_CELLS
    while True:
        # What is evaluated to check a table is the next finer table.
        finer = curve_values(inner, 2 * cells)
        values = finer[::2]
        error = np.abs(finer[1::2] - (values[1:] + values[:-1]) / 2).max()
        if error <= TOLERANCE or cells >= MOST_CELLS:
            break
        cells *= 2
    if decreasing:
        values = 1 - values
    step = (-1.0 if decreasing else 1.0) / cells
    extended = torch.from_numpy(np.concatenate([values[:1] - step, values, values[-1:] + step]))
    return CurveTable(starts=extended[:-1], rises=extended.diff())


def curve_values(control_points: FloatArray, cells: int) -> FloatArray:
    """Evaluate y at equally spaced x on the curve through (0, 0), two control points (2, 2), and (1, 1).

    Returns:
        (cells + 1,) in [0, 1], monotone.
    """
    t = np.linspace(0, 1, POINTS_PER_CELL * cells // 2 + 1)
    (x1, y1), (x2, y2) = control_points
    x, y = (
        (((1 + 3 * (first - second)) * t + (3 * second - 6 * first)) * t + 3 * first) * t
        for first, second in ((x1, x2), (y1, y2))
    )
    values = np.interp(np.linspace(0, 1, cells + 1), x, y).clip(0, 1)
    # Rounding must not turn the curve back where it is flat or vertical.
    return np.asarray(np.maximum.accumulate(values), dtype=np.float64)
