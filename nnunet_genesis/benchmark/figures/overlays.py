"""Slices of test cases with the outlines of the reference and of two predictions."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnunet_genesis.benchmark.figures.style import DPI, legend_below
from nnunet_genesis.figure_text import names_as_they_are
from nnunet_genesis.pretraining.figures import pixel_aspect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_COLOURS = ("limegreen", "red", "deepskyblue", "gold", "magenta", "orange", "aquamarine", "white")
_PANEL, _LINE, _LINE_LETTERS = 3.4, 0.16, 44
"""Inches: width of a panel, height of a line of its title; and how many letters fit into that."""
_MARGIN, _SMALLEST = 0.35, 48
"""Around what is outlined: share of its size, and pixels that are shown at least."""


@dataclass(frozen=True)
class Example:
    """One test case.

    Attributes:
        title: Why it is shown.
        image: (z, y, x), the first channel; None where it is not at hand.
        segmentations: Title of a panel to its segmentation (z, y, x); the reference first.
        spacing: Millimetres along z, y and x.
    """

    title: str
    image: NDArray[np.float32] | None
    segmentations: Mapping[str, NDArray[np.int64]]
    spacing: tuple[float, ...]


@names_as_they_are
def draw_overlays(file: Path, examples: Sequence[Example], labels: Mapping[str, Sequence[int]]) -> None:
    """Draw a row per case and a panel per segmentation, in the slice with the largest area of the reference.

    The reference is dotted where it is drawn beside a prediction.

    Args:
        file: Picture to write.
        examples: At least one; all with as many segmentations.
        labels: Name of every class to its values in a segmentation.
    """
    columns = len(examples[0].segmentations)
    views = [_view(example, labels) for example in examples]
    heights = [
        _PANEL * view.height_over_width(example.spacing) + _LINE * (2 + len(_title_lines(example)))
        for view, example in zip(views, examples, strict=True)
    ]
    figure = Figure(figsize=(_PANEL * columns, sum(heights) + 0.4), layout="constrained")
    grid = figure.subplots(len(examples), columns, squeeze=False, height_ratios=heights)
    drawn: set[str] = set()
    for panels, example, view in zip(grid, examples, views, strict=True):
        drawn |= _draw_row(list(panels), example, view, labels)
    legend: dict[str, Artist] = {
        name: Line2D([], [], color=_COLOURS[number % len(_COLOURS)])
        for number, name in enumerate(labels)
        if name in drawn
    }
    legend_below(figure, more={**legend, "reference": Line2D([], [], color="black", linestyle=":")})
    figure.savefig(file, dpi=DPI)


@dataclass(frozen=True)
class _View:
    """What is shown of a case: a slice, and a window of it."""

    row: int
    box: tuple[slice, slice]

    def height_over_width(self, spacing: tuple[float, ...]) -> float:
        """Of the window in mm, within what a page can hold."""
        height, width = (part.stop - part.start for part in self.box)
        return float(np.clip(height / width * pixel_aspect(spacing, 0), 0.4, 1.6))


def _view(example: Example, labels: Mapping[str, Sequence[int]]) -> _View:
    values = sorted({value for group in labels.values() for value in group})
    found = [np.isin(one, values) for one in example.segmentations.values()]
    row = int(np.argmax(found[0].sum(axis=(1, 2))))
    return _View(row, _box(np.any([one[row] for one in found], axis=0)))


def _draw_row(panels: list[Axes], example: Example, view: _View, labels: Mapping[str, Sequence[int]]) -> set[str]:
    """Draw a case; returns the classes that are seen."""
    drawn: set[str] = set()
    reference, *_ = (segmentation[view.row] for segmentation in example.segmentations.values())
    image = np.zeros(reference.shape) if example.image is None else example.image[view.row]
    low, high = np.percentile(image, (0.5, 99.5)).tolist()
    for number, (panel, (name, segmentation)) in enumerate(zip(panels, example.segmentations.items(), strict=True)):
        panel.imshow(
            image[view.box],
            cmap="gray",
            vmin=low,
            vmax=max(high, low + 1e-6),
            aspect=pixel_aspect(example.spacing, 0),
            interpolation="nearest",
        )
        if number:
            _outline(panel, reference[view.box], labels, style=":", width=1.0)
        drawn |= _outline(panel, segmentation[view.row][view.box], labels, style="-", width=1.5)
        told = [name] if number else [*_title_lines(example), f"{name}, slice {view.row}"]
        panel.set_title("\n".join(told), fontsize=8)
        panel.set_axis_off()
        panel.set_anchor("N")  # else the layout takes the room that is left above an image for that of its title
    return drawn


def _title_lines(example: Example) -> list[str]:
    return wrap(example.title, _LINE_LETTERS)


def _outline(
    panel: Axes, segmentation: NDArray[np.int64], labels: Mapping[str, Sequence[int]], *, style: str, width: float
) -> set[str]:
    drawn = set()
    for place, (name, group) in enumerate(labels.items()):
        mask = np.isin(segmentation, group)
        if mask.any() and not mask.all():
            colour = _COLOURS[place % len(_COLOURS)]
            panel.contour(mask, levels=[0.5], colors=colour, linewidths=width, linestyles=style)
            drawn.add(name)
    return drawn


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """What is outlined, with a margin, as slices of both axes."""
    found = []
    for axis in (0, 1):
        numbers = np.flatnonzero(mask.any(axis=1 - axis))
        low, high = (int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else (0, mask.shape[axis])
        more = max(round(_MARGIN * (high - low)), (_SMALLEST - (high - low)) // 2)
        found.append(slice(max(0, low - more), min(mask.shape[axis], high + more)))
    return found[0], found[1]
