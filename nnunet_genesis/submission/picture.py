"""A contact sheet of what is submitted: a mistake that no check finds is often plain to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nnunet_genesis.pretraining.figures import pixel_aspect
from nnunet_genesis.submission.volumes import choose_library, read_voxels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.submission.images import TestImages

MAX_CASES, COLUMNS = 12, 6
COLORS = ("tab:red", "tab:green", "tab:blue", "tab:orange", "tab:purple", "tab:cyan", "tab:pink", "tab:olive")
_OPACITY = 0.5


def draw_contact_sheet(
    file: Path, predictions: Path, images: TestImages, labels: Mapping[int, str], title: str
) -> None:
    """Draw up to 12 evenly chosen cases, each in the slice with most labelled voxels.

    Args:
        file: New picture.
        predictions: Folder of checked predictions.
        images: What they are of; the first channel is drawn.
        labels: Values that a prediction may hold, and their names.
        title: Of the whole sheet.
    """
    names = sorted(images.cases)
    if len(names) > MAX_CASES:
        names = [names[round(number)] for number in np.linspace(0, len(names) - 1, MAX_CASES)]
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(max(2.3 * columns, 6.0), 2.6 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, name in zip(panels, names, strict=False):
        _draw_case(panel, images.cases[name][0], predictions / f"{name}{images.ending}", labels)
        panel.set_title(name if len(name) <= 28 else f"{name[:25]}...", fontsize=8, parse_math=False)
    handles = [
        Patch(color=_color(value), alpha=_OPACITY + 0.2, label=f"{value} {name}") for value, name in _drawn(labels)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6) or 1, fontsize=8)
    figure.suptitle(title, fontsize=10, parse_math=False)
    part = file.with_name(f".{file.name}.tmp")
    figure.savefig(part, dpi=100, format="png")
    part.replace(file)


def _draw_case(panel: Any, image_file: Path, prediction_file: Path, labels: Mapping[int, str]) -> None:
    library = choose_library(image_file)
    image: npt.NDArray[Any]
    prediction: npt.NDArray[Any]
    image, grid = read_voxels(image_file, library)
    prediction, _ = read_voxels(prediction_file, library)
    if image.ndim > prediction.ndim:
        image = image.mean(axis=-1)  # colours
    spacing, axis = grid.spacing[::-1] or (1.0,) * prediction.ndim, 0
    if prediction.ndim == 3:
        axis = _slice_axis(prediction.shape, spacing)
        others = tuple(other for other in range(3) if other != axis)
        number = int(np.argmax((prediction != 0).sum(axis=others)))
        if not prediction.any():
            number = prediction.shape[axis] // 2
        image, prediction = np.take(image, number, axis), np.take(prediction, number, axis)
    low, high = np.percentile(image, (0.5, 99.5))
    aspect = pixel_aspect(tuple(spacing), axis)
    panel.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect, interpolation="nearest")
    panel.imshow(_overlay(prediction, labels), aspect=aspect, interpolation="nearest")
    # NIfTI counts from the feet up and the back to the front, pictures from the top down.
    if grid.spacing:
        panel.invert_yaxis()


def _slice_axis(shape: tuple[int, ...], spacing: tuple[float, ...]) -> int:
    """The axis with the coarsest voxels, an axis of one slice before all."""
    return shape.index(1) if 1 in shape else int(np.argmax(spacing))


def _overlay(prediction: npt.NDArray[np.generic], labels: Mapping[int, str]) -> npt.NDArray[np.float64]:
    picture = np.zeros((*prediction.shape, 4))
    for value, _ in _drawn(labels):
        picture[prediction == value] = (*to_rgba(_color(value))[:3], _OPACITY)
    return picture


def _drawn(labels: Mapping[int, str]) -> list[tuple[int, str]]:
    return [(value, name) for value, name in sorted(labels.items()) if value != 0]


def _color(value: int) -> str:
    return COLORS[(value - 1) % len(COLORS)]
