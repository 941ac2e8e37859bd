"""Scores over the number of labelled cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from nnunet_genesis.benchmark.figures.style import (
    AXIS_NAMES,
    DPI,
    Styles,
    labelled_of,
    legend_below,
    schedules_of,
)
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.statistics.comparison import Arm, arms_of
from nnunet_genesis.figure_text import names_as_they_are

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from nnunet_genesis.benchmark.statistics.comparison import Comparison
    from nnunet_genesis.benchmark.statistics.metric_table import MetricTable

_BESIDE = 0.06
"""How far single trainings stand beside their mean, in places of the axis."""


@names_as_they_are
def draw_label_efficiency(file: Path, rows: Sequence[tuple[MetricTable, Sequence[Comparison]]], styles: Styles) -> None:
    """Draw a row of panels per metric and a column per schedule.

    Small marks are single trainings, lines their means. The bar at a pretrained mean is the 95 % interval of its
    difference to scratch, set upon scratch's line: where it does not reach that, it excludes zero.

    Args:
        file: Picture to write.
        rows: A table and its comparisons per metric.
        styles: Of the initialisations.
    """
    columns = schedules_of(arm for table, _ in rows for arm in arms_of(table.values))
    figure = Figure(figsize=(max(5.2, 4.4 * len(columns)), 3.3 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey="row")
    for panels, (table, comparisons) in zip(grid, rows, strict=True):
        for panel, schedule in zip(panels, columns, strict=True):
            _draw_panel(panel, table, comparisons, schedule, styles)
        _limit(panels[0], table)
        panels[0].set_ylabel(f"{AXIS_NAMES.get(table.metric, table.metric)}\n({table.label})", fontsize=9)
    for panel, schedule in zip(grid[0], columns, strict=True):
        panel.set_title(f"schedule: {schedule}", fontsize=10)
    for panel in grid[-1]:
        panel.set_xlabel("labelled cases")
    legend_below(figure, grid.ravel())
    figure.savefig(file, dpi=DPI)


def _limit(panel: Axes, table: MetricTable) -> None:
    """Let an interval of few trainings leave the picture rather than hide the means."""
    means = table.by_group(list(table.values)).mean(axis=1)
    low, high = panel.get_ylim()
    more = max(float(np.ptp(means)), 1e-6)
    # No score is below 0, and no share above 1; a mark there is drawn whole.
    room = 0.03 * (1.0 if table.larger_is_better else more)
    highest = 1.0 if table.larger_is_better else np.inf
    panel.set_ylim(max(low, float(means.min()) - more, -room), min(high, float(means.max()) + more, highest + room))


def _draw_panel(
    panel: Axes, table: MetricTable, comparisons: Sequence[Comparison], schedule: str, styles: Styles
) -> None:
    arms = {arm: runs for arm, runs in arms_of(table.values).items() if arm.schedule == schedule}
    numbers = labelled_of(arms)
    found = {entry.arm: entry for entry in comparisons}
    for name in styles.names:
        own = sorted((arm.labelled, arm) for arm in arms if arm.initialisation == name)
        if not own:
            continue
        colour, shift = styles.colour(name), styles.shift(name, 0.3)
        means = []
        for labelled, arm in own:
            place = numbers.index(labelled) + shift
            scores = table.by_group(arms[arm]).mean(axis=1)
            entry = found.get(arm)
            means.append((place, float(scores.mean()) if entry is None else entry.pretrained.mean))
            panel.scatter(
                [place + _BESIDE] * len(scores),
                scores,
                s=14,
                color=colour,
                marker=styles.marker(name),
                alpha=0.6,
                linewidths=0,
            )
            if entry is not None:
                # Not the mean that it was compared with, where seeds without a counterpart are left out.
                control = float(table.by_group(arms[Arm(SCRATCH, labelled, schedule)]).mean())
                ends = [control + end for end in (entry.interval.low, entry.interval.high)]
                panel.plot([place, place], ends, color=colour, linewidth=1.4, marker="_", markersize=7)
        panel.plot(
            *zip(*means, strict=True),
            color=colour,
            marker=styles.marker(name),
            markersize=6,
            markeredgecolor="black",
            markeredgewidth=0.5,
            linestyle="--" if name == SCRATCH else "-",
            label=name,
        )
    panel.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    panel.set_xlim(-0.5, len(numbers) - 0.5)
    panel.grid(alpha=0.3)
