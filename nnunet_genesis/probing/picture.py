"""The picture of a probe: one panel per encoder, coloured by source."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnunet_genesis.figure_text import names_as_they_are
from nnunet_genesis.files import replacing
from nnunet_genesis.probing.projection import project

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.probing.result import ProbedFeatures, ProbeResult

MAX_COLUMNS = 3
MARKERS = "os^DvPX*<>"
_PANEL, _LEGEND, _TITLE, _DPI = 3.9, 0.3, 0.5, 100
"""Inches of a panel, of a row of the legend and of the title, and dots per inch."""


@names_as_they_are
def draw_probe(file: Path, result: ProbeResult, title: str, *, by_umap: bool = False) -> None:
    """Draw patches as small marks and the means of scans as large ones; readers see all of the file or nothing.

    Args:
        file: New picture.
        result: What is drawn.
        title: Above all.
        by_umap: UMAP instead of PCA.
    """
    columns = min(MAX_COLUMNS, len(result.encoders))
    rows = math.ceil(len(result.encoders) / columns)
    legend_columns = min(len(result.sources) + 1, 2 * columns)
    legend_rows = math.ceil((len(result.sources) + 1) / legend_columns)
    width = max(_PANEL * columns, 5.0)
    figure = Figure(
        figsize=(width, (_PANEL + 0.35) * rows + _LEGEND * legend_rows + _TITLE), layout="constrained", dpi=_DPI
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, one in zip(panels, result.encoders, strict=False):
        _draw_panel(panel, one, result, by_umap=by_umap)
    for panel in panels[len(result.encoders) :]:
        panel.set_axis_off()
    figure.legend(handles=_legend(result), loc="outside lower center", ncols=legend_columns, fontsize=8, frameon=False)
    figure.suptitle(textwrap.fill(title, int(11 * width)), fontsize=10)
    with replacing(file) as part:
        figure.savefig(part, format="png")


def _draw_panel(panel: Any, one: ProbedFeatures, result: ProbeResult, *, by_umap: bool) -> None:
    seed = int(result.provenance["config"]["seed"])
    projection = project(one.features, by_umap=by_umap, seed=seed)
    for number, scan in enumerate(result.scans):
        colour, marker = _style(result, scan.source)
        points = projection.points[number]
        panel.scatter(*points.T, s=11, color=colour, marker=marker, alpha=0.4, linewidths=0)
        panel.scatter(*points.mean(axis=0), s=38, color=colour, marker=marker, edgecolors="black", linewidths=0.6)
    found = [
        f"{name} {outcome.balanced_accuracy:.2f} (chance {outcome.chance:.2f})"
        for name, outcome in one.outcomes.items()
    ]
    panel.set_title("\n".join([textwrap.shorten(one.probed.name, 44), ", ".join(found)]), fontsize=8.5)
    panel.set_xlabel(projection.axes[0], fontsize=8)
    panel.set_ylabel(projection.axes[1], fontsize=8)
    panel.set_xticks([])
    panel.set_yticks([])


def _style(result: ProbeResult, source: int) -> tuple[str, str]:
    kinds = list(dict.fromkeys(result.modalities))
    return f"C{source % 10}", MARKERS[kinds.index(result.modalities[source]) % len(MARKERS)]


def _legend(result: ProbeResult) -> list[Line2D]:
    handles = []
    for number, (name, modality) in enumerate(zip(result.sources, result.modalities, strict=True)):
        colour, marker = _style(result, number)
        label = name if name == modality else f"{name} ({modality})"
        handles.append(Line2D([], [], color=colour, marker=marker, ls="", mec="black", mew=0.6, ms=6, label=label))
    scan = Line2D([], [], color="white", marker="o", ls="", mec="black", mew=0.6, ms=6, label="large: mean of a scan")
    return [*handles, scan]
