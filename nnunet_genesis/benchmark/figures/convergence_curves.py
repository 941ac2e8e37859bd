"""Pseudo Dice over the epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_genesis.benchmark.figures.style import DPI, Styles, labelled_of, legend_below, schedules_of
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.statistics.comparison import Arm, arms_of
from nnunet_genesis.benchmark.statistics.convergence import mean_curve
from nnunet_genesis.figure_text import names_as_they_are

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from nnunet_genesis.benchmark.scores import RunKey
    from nnunet_genesis.benchmark.statistics.convergence import Convergence


@names_as_they_are
def draw_convergence(
    file: Path, curves: Mapping[RunKey, NDArray[np.float64]], reached: Sequence[Convergence], styles: Styles
) -> None:
    """Draw a row of panels per schedule and a column per number of labelled cases.

    Thin lines are single trainings, thick ones their means; the dotted line is where scratch ends, and large marks are
    where a mean reaches it.

    Args:
        file: Picture to write.
        curves: Smoothed pseudo Dice of every training.
        reached: When arms reach scratch's end.
        styles: Of the initialisations.
    """
    arms = arms_of(curves)
    schedules, numbers = schedules_of(arms), labelled_of(arms)
    figure = Figure(figsize=(max(5.2, 3.4 * len(numbers) + 0.6), 2.9 * len(schedules) + 0.6), layout="constrained")
    grid = figure.subplots(len(schedules), len(numbers), squeeze=False, sharex=True, sharey=True)
    for panels, schedule in zip(grid, schedules, strict=True):
        for panel, labelled in zip(panels, numbers, strict=True):
            for name in styles.names:
                _draw_arm(panel, [curves[run] for run in arms.get(Arm(name, labelled, schedule), [])], name, styles)
            _draw_reached(
                panel, [one for one in reached if (one.arm.labelled, one.arm.schedule) == (labelled, schedule)], styles
            )
            if not panel.lines:
                panel.text(0.5, 0.5, "nothing finished", transform=panel.transAxes, ha="center", color="0.5")
            panel.set_title(f"{schedule}, {labelled} labelled", fontsize=10)
            panel.grid(alpha=0.3)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0].set_ylabel("pseudo Dice, smoothed", fontsize=9)
    for panel in grid[-1]:
        panel.set_xlabel("epoch")
    legend_below(figure, grid.ravel())
    figure.savefig(file, dpi=DPI)


def _draw_arm(panel: Axes, curves: list[NDArray[np.float64]], name: str, styles: Styles) -> None:
    if not curves:
        return
    for curve in curves:
        panel.plot(np.arange(1, len(curve) + 1), curve, color=styles.colour(name), linewidth=0.6, alpha=0.45)
    mean = mean_curve(curves)
    style = "--" if name == SCRATCH else "-"
    panel.plot(np.arange(1, len(mean) + 1), mean, color=styles.colour(name), linewidth=2, linestyle=style, label=name)


def _draw_reached(panel: Axes, reached: Sequence[Convergence], styles: Styles) -> None:
    for one in reached:
        name = one.arm.initialisation
        if name == SCRATCH:
            panel.axhline(one.target, color=styles.colour(name), linestyle=":", linewidth=1, label="scratch's end")
        if one.reached is not None:
            panel.plot(
                one.reached,
                one.target,
                color=styles.colour(name),
                marker=styles.marker(name),
                markersize=8,
                markeredgecolor="black",
                zorder=5,
            )
