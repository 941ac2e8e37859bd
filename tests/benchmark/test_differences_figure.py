"""Intervals that leave the picture of differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from nnunet_genesis.benchmark.figures.differences import INTERVAL, mark_cut_intervals


@pytest.mark.parametrize(
    ("interval", "arrows"),
    [((-0.1, 0.2), []), ((-0.1, 0.7), [("^", 0.5)]), ((-0.9, 0.7), [("v", -0.5), ("^", 0.5)]), ((math.nan,) * 2, [])],
)
def test_an_arrow_stands_where_an_interval_leaves_the_picture(
    interval: tuple[float, float], arrows: list[tuple[str, float]]
) -> None:
    panel = Figure().subplots()
    panel.plot([0, 0], [-3, 3])  # no interval
    panel.plot([1, 1], interval, gid=INTERVAL)
    panel.set_ylim(-0.5, 0.5)
    assert mark_cut_intervals(panel) == bool(arrows)
    drawn = [(line.get_marker(), np.asarray(line.get_ydata(), float)[0]) for line in panel.get_lines()[2:]]
    assert drawn == arrows
