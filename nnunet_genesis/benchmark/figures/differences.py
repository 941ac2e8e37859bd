"""How much pretraining changes the score of every patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nnunet_genesis.benchmark.figures.style import (
    DPI,
    SHORT_NAMES,
    Styles,
    labelled_of,
    legend_below,
    schedules_of,
)
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.figure_text import names_as_they_are

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from nnunet_genesis.benchmark.statistics.comparison import Comparison

_BAND = "0.8"
INTERVAL = "interval"


@names_as_they_are
def draw_differences(file: Path, comparisons: Sequence[Comparison], styles: Styles) -> None:
    """Draw a panel per schedule: a point per patient, and the mean with its 95 % interval.

    The grey band is the run-to-run standard deviation of scratch to both sides of zero.

    Args:
        file: Picture to write.
        comparisons: Of one metric and class; at least one.
        styles: Of the initialisations.
    """
    arms = [entry.arm for entry in comparisons]
    schedules, numbers = schedules_of(arms), labelled_of(arms)
    width = max(5.2, 1.6 + 0.55 * len(numbers) * (len(styles.names) - 1))
    figure = Figure(figsize=(min(12.0, max(width, 6.0)), 3.3 * len(schedules) + 0.5), layout="constrained")
    panels = figure.subplots(len(schedules), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for panel, schedule in zip(panels, schedules, strict=True):
        _draw_panel(panel, [entry for entry in comparisons if entry.arm.schedule == schedule], numbers, styles)
        panel.set_title(f"schedule: {schedule}", fontsize=10)
        name = SHORT_NAMES.get(comparisons[0].metric, comparisons[0].metric)
        panel.set_ylabel(f"{name}: pretrained - scratch\n({comparisons[0].label})", fontsize=9)
    _limit(panels[0], comparisons)
    goes_on = [mark_cut_intervals(panel) for panel in panels]
    panels[-1].set_xticks(range(len(numbers)), [str(number) for number in numbers])
    panels[-1].set_xlim(-0.5, len(numbers) - 0.5)
    panels[-1].set_xlabel("labelled cases")
    used = [name for name in styles.names if name != SCRATCH and any(arm.initialisation == name for arm in arms)]
    legend: dict[str, Artist] = {
        name: Line2D([], [], color=styles.colour(name), marker=styles.marker(name), linestyle="", markersize=5)
        for name in used
    }
    legend["scratch, run to run"] = Patch(color=_BAND)
    legend["mean, 95 % interval"] = Line2D([], [], color="black", marker="o", markersize=4)
    if any(goes_on):
        legend["interval goes on"] = Line2D([], [], color="black", marker="^", linestyle="", markersize=6)
    legend_below(figure, more=legend)
    figure.savefig(file, dpi=DPI)


def _limit(panel: Axes, comparisons: Sequence[Comparison]) -> None:
    """Let an interval of few trainings leave the picture rather than hide the patients."""
    values = np.array([value for entry in comparisons for value in entry.by_group])
    most = 2.5 * max(float(np.abs(values).max()), 1e-6)
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, -most), min(high, most))


def mark_cut_intervals(panel: Axes) -> bool:
    """Set an arrow where an interval leaves the picture; returns whether one does."""
    low, high = panel.get_ylim()
    cut = False
    for line in panel.get_lines():
        if line.get_gid() == INTERVAL:
            places, ends = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
            for place, end in zip(places, ends, strict=True):
                if end < low or end > high:  # NaN is neither
                    edge, arrow = (high, "^") if end > high else (low, "v")
                    panel.plot(place, edge, color="black", marker=arrow, markersize=8, clip_on=False)
                    cut = True
    return cut


def _draw_panel(panel: Axes, comparisons: Sequence[Comparison], numbers: Sequence[int], styles: Styles) -> None:
    others = [name for name in styles.names if name != SCRATCH]
    slot = 0.8 / max(1, len(others))
    panel.axhline(0, color="0.3", linewidth=0.8)
    spread = {entry.arm.labelled: entry.scratch.deviation for entry in comparisons}
    for labelled, deviation in spread.items():
        if np.isfinite(deviation):
            place = numbers.index(labelled)
            panel.fill_between([place - 0.45, place + 0.45], -deviation, deviation, color=_BAND, linewidth=0, zorder=0)
    for entry in comparisons:
        name = entry.arm.initialisation
        middle = numbers.index(entry.arm.labelled) + (others.index(name) - (len(others) - 1) / 2) * slot
        count = len(entry.by_group)
        # Patients are set side by side in their order, the same one in every column.
        beside = middle + (np.arange(count) / max(1, count - 1) - 0.5) * 0.6 * slot
        panel.scatter(
            beside,
            entry.by_group,
            s=14,
            color=styles.colour(name),
            marker=styles.marker(name),
            alpha=0.55,
            linewidths=0,
        )
        interval = entry.interval
        panel.plot(
            [middle, middle],
            [interval.low, interval.high],
            color="black",
            linewidth=1.6,
            marker="_",
            markersize=9,
            gid=INTERVAL,
        )
        panel.plot(middle, interval.difference, color="black", marker="o", markersize=4.5)
    panel.grid(alpha=0.3, axis="y")
