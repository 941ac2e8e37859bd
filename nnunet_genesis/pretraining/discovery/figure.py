"""The picture of a discovery: per class, the same place in several scans."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nnunet_genesis.figure_text import names_as_they_are
from nnunet_genesis.files import replacing
from nnunet_genesis.pretraining.case_files import open_case, read_part
from nnunet_genesis.pretraining.discovery.geometry import find_centres, first_voxels, size_in_voxels
from nnunet_genesis.pretraining.figures import pixel_aspect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.discovery.result import DiscoveredScan, Discovery, PseudoClass
    from nnunet_genesis.pretraining.sources import Source

MAX_CLASSES, MAX_NEIGHBOURS = 12, 4
"""Rows, and training scans in a row beside the reference."""
_WIDTH, _TITLE, _DPI = 1.75, 0.7, 80
"""Inches of a picture and of the title, and dots per inch."""
_COLOUR = "tab:orange"


@names_as_they_are
def draw_discovery(
    file: Path, discovery: Discovery, sources: Sequence[Source], title: str, *, num_classes: int = MAX_CLASSES
) -> None:
    """Draw a row per class: its reference, training scans from the nearest to the farthest, the nearest held-out one.

    A picture is the slice through the centre of the crop, across the axis with the largest spacing; the crop is framed.

    Args:
        file: New picture; readers see all of it or nothing.
        discovery: What is drawn.
        sources: The sources that it was made of.
        title: Above all.
        num_classes: Classes that are drawn at most, evenly chosen.

    Raises:
        DataError: If a case cannot be read.
    """
    count = min(num_classes, discovery.num_classes)
    chosen = np.unique(np.linspace(0, discovery.num_classes - 1, count).round().astype(int)).tolist()
    neighbours = [_choose_neighbours(discovery.classes[number]) for number in chosen]
    most = max(len(scans) for scans in neighbours)
    num_columns = most + 2
    axis = int(np.argmax(discovery.spacing)) if len(discovery.spacing) == 3 else 0
    aspect = pixel_aspect(discovery.spacing, axis)
    sides = np.median([[stop - first for first, stop in scan.box] for scan in discovery.scans], axis=0)
    height, width = np.delete(sides, axis)
    panel_height = min(1.6 * _WIDTH, max(0.5 * _WIDTH, _WIDTH * height * aspect / width))
    figure = Figure(
        figsize=(_WIDTH * num_columns + 0.9, (panel_height + 0.2) * len(chosen) + _TITLE), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)  # type: ignore[union-attr,call-arg]
    panels = figure.subplots(len(chosen), num_columns, squeeze=False)
    cases = _index_files(sources)
    for row, (number, others) in enumerate(zip(chosen, neighbours, strict=True)):
        found = discovery.classes[number]
        scans = [found.reference, *others, *[None] * (most - len(others)), next(iter(found.held_out), None)]
        for panel, scan in zip(panels[row], scans, strict=True):
            panel.set_xticks([])
            panel.set_yticks([])
            if scan is None:
                panel.set_axis_off()
            else:
                _draw_scan(panel, discovery.scans[scan], found.place, discovery, axis=axis, cases=cases)
        panels[row, 0].set_ylabel(_label(number, discovery), fontsize=8)
    names = ["reference", *[""] * most, "held out"]
    names[1], names[most] = "nearest", "farthest" if most > 1 else "nearest"
    for panel, name in zip(panels[0], names, strict=True):
        panel.set_title(f"{name}\n{panel.get_title()}", fontsize=8, pad=2)
    figure.suptitle(textwrap.fill(title, int(10 * figure.get_figwidth())), fontsize=10)
    with replacing(file) as part:
        figure.savefig(part, dpi=_DPI, format="png")


def _choose_neighbours(found: PseudoClass) -> list[int]:
    """Training scans beside the reference, evenly from the nearest to the farthest."""
    others = found.train[1:]
    if len(others) <= MAX_NEIGHBOURS:
        return list(others)
    return [others[number] for number in np.linspace(0, len(others) - 1, MAX_NEIGHBOURS).round().astype(int)]


def _label(number: int, discovery: Discovery) -> str:
    place = discovery.classes[number].place
    if len(discovery.spacing) == 3:
        return f"class {number}\n" + ", ".join(f"{mm:+.0f}" for mm in place) + " mm"
    return f"class {number}\nslice at {100 * place[0]:.0f} %\n" + ", ".join(f"{mm:+.0f}" for mm in place[1:]) + " mm"


def _index_files(sources: Sequence[Source]) -> dict[tuple[str, str], tuple[CaseIndex, int]]:
    return {
        (source.name, str(case)): (index, number)
        for source in sources
        for index in (source.train, source.validation)
        for number, case in enumerate(index.identifiers)
    }


def _draw_scan(
    panel: Any,
    scan: DiscoveredScan,
    place: tuple[float, ...],
    discovery: Discovery,
    *,
    axis: int,
    cases: dict[tuple[str, str], tuple[CaseIndex, int]],
) -> None:
    """Draw the slice of the whole scan, a little more than its foreground box, with the frame of the crop."""
    index, number = cases[scan.source, scan.case]
    size = size_in_voxels(discovery.crop_size)
    centre = find_centres(np.array(scan.box, dtype=np.int32), place, discovery.spacing)
    first = first_voxels(centre, size)
    depth = int(np.clip(first[axis] + size[axis] // 2, 0, index.shapes[number][axis] - 1))
    part = [slice(0, 1), slice(None), slice(None), slice(None)]
    part[1 + axis] = slice(depth, depth + 1)
    file = index.file(number)
    image = read_part(open_case(file), tuple(part), file)[0].squeeze(axis)
    low, high = np.percentile(image, (0.5, 99.5)).tolist()
    high = high if high > low else low + 1
    aspect = pixel_aspect(discovery.spacing, axis)
    panel.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    plane = [one for one in range(3) if one != axis]
    (top, left), (rows, columns) = ([values[one] for one in plane] for values in (first, size))
    panel.add_patch(Rectangle((left - 0.5, top - 0.5), columns, rows, fill=False, edgecolor=_COLOUR, linewidth=1.5))
    (y_first, y_stop), (x_first, x_stop) = (scan.box[one] for one in plane)
    y_margin, x_margin = (0.05 * (stop - start) for start, stop in (scan.box[one] for one in plane))
    panel.set_ylim(min(y_stop + y_margin, image.shape[0]) - 0.5, max(y_first - y_margin, 0) - 0.5)
    panel.set_xlim(max(x_first - x_margin, 0) - 0.5, min(x_stop + x_margin, image.shape[1]) - 0.5)
    panel.set_title(scan.case, fontsize=7, pad=2)
