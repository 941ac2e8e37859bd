"""A contact sheet of what is submitted: a mistake that no check finds is often plain to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nnunet_genesis.figure_text import names_as_they_are
from nnunet_genesis.files import replacing
from nnunet_genesis.pretraining.figures import pixel_aspect
from nnunet_genesis.submission.volumes import Library, choose_library, read_voxels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.submission.images import TestImages

MAX_CASES, COLUMNS = 12, 6
MAX_IN_LEGEND = 24
COLORS = ("tab:red", "tab:green", "tab:blue", "tab:orange", "tab:purple", "tab:cyan", "tab:pink", "tab:olive")
_OPACITY = 0.5


@names_as_they_are
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
        title += f", {MAX_CASES} of them drawn"
    slices = {name: _choose_slice(images.cases[name][0], predictions / f"{name}{images.ending}") for name in names}
    drawn = sorted({int(value) for part in slices.values() for value in np.unique(part.labels)} - {0})
    rows = -(-len(names) // COLUMNS)
    columns = -(-len(names) // rows)
    width = max(2.3 * columns, 6.0)
    in_legend = drawn[:MAX_IN_LEGEND]
    legend_columns = max(1, min(len(in_legend), int(width / 2)))
    legend_rows = -(-len(in_legend) // legend_columns)
    figure = Figure(figsize=(width, 2.6 * rows + 0.6 + 0.25 * legend_rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, (name, part) in zip(panels, slices.items(), strict=False):
        _draw(panel, part, drawn)
        panel.set_title(_shorten(name, 28), fontsize=8)
    handles = [
        Patch(color=_color(value), alpha=_OPACITY + 0.2, label=f"{value} {_shorten(labels[value], 20)}")
        for value in in_legend
    ]
    if handles:
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns, fontsize=8)
        if len(drawn) > len(in_legend):
            legend.set_title(f"the first {len(in_legend)} of {len(drawn)} labels in the picture")
    figure.suptitle(title, fontsize=10)
    with replacing(file) as part_file:
        figure.savefig(part_file, dpi=100, format="png")


@dataclass(frozen=True)
class _Slice:
    """What is drawn of one case: grey values and labels (rows, columns), and how."""

    image: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    aspect: float
    upwards: bool


def _choose_slice(image_file: Path, prediction_file: Path) -> _Slice:
    library = choose_library(image_file)
    image, spacing = _read_oriented(image_file, library)
    labels, _ = _read_oriented(prediction_file, library)
    if image.ndim > labels.ndim:
        image = image.mean(axis=-1)  # colours
    if labels.ndim == 2:
        return _Slice(image, labels, pixel_aspect(spacing, 0), upwards=False)
    axis = _slice_axis(labels.shape, spacing)
    counts = (labels != 0).sum(axis=tuple(other for other in range(3) if other != axis))
    number = int(np.argmax(counts)) if counts.any() else labels.shape[axis] // 2
    picture, overlay = (np.take(array, number, axis) for array in (image, labels))
    # The rows of a sagittal or coronal slice go from the feet up.
    return _Slice(picture, overlay, pixel_aspect(spacing, axis), upwards=axis != 0)


def _read_oriented(file: Path, library: Library) -> tuple[npt.NDArray[Any], tuple[float, ...]]:
    """Voxels and spacing (z, y, x) as radiologists look at them: from the feet, the front above."""
    if library is Library.SIMPLEITK:
        import SimpleITK as sitk

        image = sitk.ReadImage(str(file))
        if image.GetDimension() == 3:
            image = sitk.DICOMOrient(image, "LPS")
        return sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]
    voxels, grid = read_voxels(file, library)
    return voxels, grid.spacing[::-1] or (1.0,) * voxels.ndim


def _draw(panel: Any, part: _Slice, drawn: Sequence[int]) -> None:
    low, high = np.percentile(part.image.astype(float), (0.5, 99.5))  # images of one bit, too
    overlay = np.zeros((*part.labels.shape, 4))
    for value in drawn:
        overlay[part.labels == value] = (*to_rgba(_color(value))[:3], _OPACITY)
    how = {"aspect": part.aspect, "interpolation": "nearest"}
    panel.imshow(part.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), **how)
    panel.imshow(overlay, **how)
    if part.upwards:
        panel.invert_yaxis()


def _slice_axis(shape: tuple[int, ...], spacing: tuple[float, ...]) -> int:
    """The axis with the coarsest voxels, an axis of one slice before all."""
    return shape.index(1) if 1 in shape else int(np.argmax(spacing))


def _color(value: int) -> str:
    return COLORS[(value - 1) % len(COLORS)]


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
