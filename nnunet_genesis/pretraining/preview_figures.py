"""Pictures of single distortions: before, after, difference, histograms, and what was drawn."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from nnunet_genesis.figure_text import names_as_they_are
from nnunet_genesis.pretraining.figures import central_slice, pixel_aspect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

COLUMNS = ("before", "after", "difference", "intensities")
WIDTH, TITLE_HEIGHT = 2.6, 0.45
"""Inches of a picture and of the title in the figure."""


@dataclass(frozen=True)
class PreviewRow:
    """One channel of one patch.

    Attributes:
        label: Which patch and channel.
        explanation: What was drawn for it.
        before: (*spatial), as it was read.
        after: (*spatial), as the network would see it.
    """

    label: str
    explanation: Sequence[str]
    before: torch.Tensor
    after: torch.Tensor


@names_as_they_are
def draw_preview(file: Path, rows: Sequence[PreviewRow], spacing: tuple[float, ...], title: str) -> None:
    """Draw a row per patch: the central slice across the axis with the largest spacing, and its histograms."""
    axis = int(np.argmax(spacing)) if len(spacing) == 3 else 0
    slices = [(central_slice(row.before.numpy(), axis), central_slice(row.after.numpy(), axis)) for row in rows]
    aspect = pixel_aspect(spacing, axis)
    height, width = slices[0][0].shape
    panel_height = min(2 * WIDTH, max(0.5 * WIDTH, WIDTH * height * aspect / width))
    texts = ["\n".join(line for part in row.explanation for line in textwrap.wrap(part, 110)) for row in rows]
    text_height = 0.15 * (1 + max(text.count("\n") for text in texts)) + 0.15
    share = panel_height / (panel_height + text_height)
    heights = [TITLE_HEIGHT, *[panel_height + text_height] * len(rows)]
    figure = Figure(figsize=(WIDTH * len(COLUMNS) + 0.6, sum(heights)))
    heading, *parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    heading.text(0.5, 0.5, title, fontsize=11, ha="center", va="center")
    for number, (part, row, text) in enumerate(zip(parts, rows, texts, strict=True)):
        panels = part.subplots(
            1, len(COLUMNS), gridspec_kw={"left": 0.04, "right": 0.98, "bottom": 1 - share, "top": 0.94, "wspace": 0.06}
        )
        part.text(0.04, 1 - share - 0.02, text, fontsize=8, va="top")
        before, after = slices[number]
        low, high = np.percentile(row.before.numpy(), (0.5, 99.5)).tolist()
        high = high if high > low else low + 1
        span = high - low
        images = ((before, "gray", low, high), (after, "gray", low, high), (after - before, "RdBu_r", -span, span))
        for panel, (image, colors, lowest, highest) in zip(panels, images, strict=False):
            panel.imshow(image, cmap=colors, vmin=lowest, vmax=highest, aspect=aspect, interpolation="nearest")
        for panel, name in zip(panels, COLUMNS, strict=True):
            panel.set_xticks([])
            panel.set_yticks([])
            if number == 0:
                panel.set_title(name, fontsize=9)
        panels[0].set_ylabel(row.label, fontsize=8)
        edges = np.linspace(low - 0.2 * span, high + 0.2 * span, 80)
        for values, name, color in ((row.before, "before", "0.4"), (row.after, "after", "tab:red")):
            panels[-1].hist(values.numpy().ravel(), edges, histtype="step", color=color, label=name, log=True)
        panels[-1].set_yticks([])
        panels[-1].minorticks_off()
        panels[-1].legend(fontsize=7, loc="upper right")
    figure.savefig(file, dpi=90)
