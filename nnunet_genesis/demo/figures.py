"""The pictures of the demonstration's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nnunet_genesis.demo.dataset import FILE_ENDING
from nnunet_genesis.demo.results import CLASSES
from nnunet_genesis.demo.synthetic_ct import LIVER, TUMOUR

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

NETWORKS = {"pretrained": "tab:blue", "scratch": "tab:orange"}
_WINDOW = (-140, 220)
_COLOURS = {LIVER: "limegreen", TUMOUR: "red"}
_DPI = 110


def draw_learning_curves(curves: dict[str, dict[str, list[float]]], file: Path) -> None:
    """Draw loss and pseudo Dice of both networks over the epochs.

    Args:
        curves: For ``pretrained`` and ``scratch`` what `results.read_learning_curve` returns.
        file: Picture to write.
    """
    figure = Figure(figsize=(4.2 * (1 + len(CLASSES)), 3.6), layout="constrained")
    loss, *dice = figure.subplots(1, 1 + len(CLASSES))
    for network, colour in NETWORKS.items():
        curve = curves[network]
        epochs = np.arange(1, len(curve["train_loss"]) + 1)
        loss.plot(epochs, curve["train_loss"], color=colour, linestyle=":", label=f"{network}, training")
        loss.plot(epochs, curve["val_loss"], color=colour, label=f"{network}, validation")
        for axes, name in zip(dice, CLASSES, strict=True):
            axes.plot(epochs, curve[name], color=colour, marker="o", markersize=3, label=network)
    loss.set(title="nnU-Net's loss (lower is better)", xlabel="epoch", ylabel="Dice + cross-entropy")
    for axes, name in zip(dice, CLASSES, strict=True):
        axes.set(title=f"pseudo Dice, {name}", xlabel="epoch", ylim=(-0.02, 1.0))
    for axes in (loss, *dice):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(file, dpi=_DPI)


def draw_overlay(
    images: Path, labels: Path, predictions: dict[str, Path], dice: dict[str, dict[str, dict[str, float]]], file: Path
) -> str:
    """Draw the axial slice with the largest tumour: the truth beside the segmentations of both networks.

    Args:
        images: ``imagesTs``.
        labels: ``labelsTs``.
        predictions: Folder of the predictions of ``pretrained`` and ``scratch``.
        dice: Dice by network, case and class.
        file: Picture to write.

    Returns:
        Name of the case that is shown.
    """
    case, row = _largest_tumour(labels)
    image = _read(images / f"{case}_0000{FILE_ENDING}")[row]
    panels = {"truth": _read(labels / f"{case}{FILE_ENDING}")[row]}
    panels |= {name: _read(predictions[name] / f"{case}{FILE_ENDING}")[row] for name in ("scratch", "pretrained")}
    figure = Figure(figsize=(12.6, 4.9), layout=ConstrainedLayoutEngine(h_pad=0.12))
    for axes, (name, segmentation) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1], interpolation="bicubic")
        _contours(axes, segmentation)
        title = f"{case}, slice {row}: truth"
        if name != "truth":
            numbers = ", ".join(f"{organ} {value:.2f}" for organ, value in dice[name][case].items())
            title = f"{name}: Dice {numbers}"
        axes.set_title(title, fontsize=11)
        axes.set_axis_off()
    names = {label: name for name, label in CLASSES.items()}
    handles = [Line2D([], [], color=colour, label=names[label]) for label, colour in _COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.savefig(file, dpi=_DPI)
    return case


def _largest_tumour(labels: Path) -> tuple[str, int]:
    """Return the case and the slice with the largest tumour area in mm²."""
    best = (-1.0, "", 0)
    for file in sorted(labels.glob(f"*{FILE_ENDING}")):
        image: Any = sitk.ReadImage(str(file))
        pixel = image.GetSpacing()[0] * image.GetSpacing()[1]
        areas = (sitk.GetArrayFromImage(image) == TUMOUR).sum(axis=(1, 2)) * pixel
        row = int(np.argmax(areas))
        best = max(best, (float(areas[row]), file.name.removesuffix(FILE_ENDING), row))
    return best[1], best[2]


def _contours(axes: Axes, segmentation: NDArray[np.uint8]) -> None:
    """Draw the outline of the liver with its tumours, and of the tumours."""
    for label, colour in _COLOURS.items():
        mask = segmentation >= label
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=colour, linewidths=1.4)


def _read(file: Path) -> NDArray[np.uint8]:
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(file))))
