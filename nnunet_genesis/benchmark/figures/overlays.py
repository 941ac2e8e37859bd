"""Slices of test cases with the outlines of the reference and of two predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnunet_genesis.benchmark.figures.style import DPI, legend_below
from nnunet_genesis.pretraining.figures import pixel_aspect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_COLOURS = ("limegreen", "red", "deepskyblue", "gold", "magenta", "orange", "aquamarine", "white")
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


def draw_overlays(file: Path, examples: Sequence[Example], labels: Mapping[str, Sequence[int]]) -> None:
    """Draw a row per case and a panel per segmentation, in the slice with the largest area of the reference.

    Args:
        file: Picture to write.
        examples: At least one; all with as many segmentations.
        labels: Name of every class to its values in a segmentation.
    """
    columns = len(examples[0].segmentations)
    figure = Figure(figsize=(3.1 * columns, 3.3 * len(examples) + 0.4), layout="constrained")
    grid = figure.subplots(len(examples), columns, squeeze=False)
    for panels, example in zip(grid, examples, strict=True):
        _draw_row(list(panels), example, labels)
    legend_below(
        figure,
        more={
            name: Line2D([], [], color=_COLOURS[number % len(_COLOURS)], markeredgecolor="black")
            for number, name in enumerate(labels)
        },
    )
    figure.savefig(file, dpi=DPI)


def _draw_row(panels: list[Axes], example: Example, labels: Mapping[str, Sequence[int]]) -> None:
    reference, *_ = example.segmentations.values()
    values = sorted({value for group in labels.values() for value in group})
    row = int(np.argmax(np.isin(reference, values).sum(axis=(1, 2))))
    slices = {name: segmentation[row] for name, segmentation in example.segmentations.items()}
    box = _box(np.any([np.isin(one, values) for one in slices.values()], axis=0))
    image = np.zeros(reference.shape[1:]) if example.image is None else example.image[row]
    low, high = np.percentile(image, (0.5, 99.5)).tolist()
    for number, (panel, (name, segmentation)) in enumerate(zip(panels, slices.items(), strict=True)):
        panel.imshow(
            image[box],
            cmap="gray",
            vmin=low,
            vmax=max(high, low + 1e-6),
            aspect=pixel_aspect(example.spacing, 0),
            interpolation="nearest",
        )
        for place, group in enumerate(labels.values()):
            mask = np.isin(segmentation[box], group)
            if mask.any() and not mask.all():
                panel.contour(mask, levels=[0.5], colors=_COLOURS[place % len(_COLOURS)], linewidths=1.3)
        panel.set_title(name if number else f"{example.title}\n{name}, slice {row}", fontsize=8)
        panel.set_axis_off()


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """What is outlined, with a margin, as slices of both axes."""
    found = []
    for axis in (0, 1):
        numbers = np.flatnonzero(mask.any(axis=1 - axis))
        low, high = (int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else (0, mask.shape[axis])
        more = max(round(_MARGIN * (high - low)), (_SMALLEST - (high - low)) // 2)
        found.append(slice(max(0, low - more), min(mask.shape[axis], high + more)))
    return found[0], found[1]
