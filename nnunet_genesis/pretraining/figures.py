"""Pictures of a running pretraining: the loss curve beside its baselines, and what the network restores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_genesis.figure_text import names_as_they_are, plain_log_ticks
from nnunet_genesis.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from nnunet_genesis.pretraining.validation import Baselines

ROWS = ("original", "distorted", "restored", "error")
MAX_EXAMPLES = 4


@dataclass(frozen=True)
class RestorationExample:
    """One validation pair and its restoration, first channel shown.

    Attributes:
        label: What was done to it.
        original: (channels, *spatial).
        distorted: Same shape.
        restored: Same shape.
        weight: (1, *spatial), 0 on padding, where no error is drawn or counted.
    """

    label: str
    original: torch.Tensor
    distorted: torch.Tensor
    restored: torch.Tensor
    weight: torch.Tensor


@names_as_they_are
def draw_progress(
    file: Path,
    history: Sequence[dict[str, Any]],
    baselines: Baselines,
    title: str,
    chances: Mapping[str, float] | None = None,
) -> None:
    """Draw the losses of restoration over epochs beside their baselines, the scores of heads, and the learning rate.

    Args:
        file: Picture to write.
        history: Entries of the finished epochs.
        baselines: Of the losses of restoration.
        title: Heading.
        chances: Names of the scores of the pretext's heads, and what guessing would give.
    """
    rows = 3 if chances else 2
    figure = Figure(figsize=(8, 4 + rows), layout="constrained")
    panels = figure.subplots(rows, 1, sharex=True, gridspec_kw={"height_ratios": (3, *[1] * (rows - 1))})
    top, bottom = panels[0], panels[-1]
    epochs = [entry["epoch"] + 1 for entry in history]
    marker = "o" if len(epochs) < 30 else None
    for kind, label, colour in (("train", "training", "tab:blue"), ("val", "validation", "tab:orange")):
        # Where heads have losses of their own, restoration is what the baselines belong to.
        losses = [entry.get(f"{kind}_restoration", entry[f"{kind}_loss"]) for entry in history]
        top.plot(epochs, losses, label=label, color=colour, marker=marker, ms=3)
    several = baselines.sources if len(baselines.sources) > 1 else {}
    for number, (name, own) in enumerate(several.items()):
        # Sources differ in how hard they are: each is named with what its best blur would give.
        losses = [entry[source_loss(name)] for entry in history]
        label = f"{name} (best blur: {own.blurred:.3g})"
        # The first two colours of the cycle are those of the curves above.
        top.plot(epochs, losses, label=label, color=f"C{2 + number % 8}", linestyle="--", linewidth=1)
    lines = (
        ("identity", "input returned", ":"),
        ("blurred", "best blur of the input", "--"),
        ("constant", "mean", "-."),
    )
    for name, label, style in lines:
        value = getattr(baselines, name)
        top.axhline(value, color="0.4", linestyle=style, linewidth=1, label=f"{label}: {value:.3g}")
    top.set_yscale("log")
    plain_log_ticks(top.yaxis)
    top.set_ylabel("mean squared error (normalised units)")
    top.set_title(title)
    top.legend(fontsize="small")
    top.grid(alpha=0.3, which="both")
    for name, chance in (chances or {}).items():
        (line,) = panels[1].plot(
            epochs, [entry.get(f"val_{name}", np.nan) for entry in history], label=name, marker=marker, ms=3
        )
        panels[1].axhline(chance, color=line.get_color(), linestyle=":", linewidth=1, label=f"chance: {chance:.3g}")
        panels[1].set_ylim(0, 1)
        panels[1].set_ylabel("held-out scans")
        panels[1].legend(fontsize="small")
        panels[1].grid(alpha=0.3)
    bottom.plot(epochs, [entry["learning_rate"] for entry in history], color="tab:green")
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("epoch")
    bottom.set_ylim(bottom=0)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    bottom.grid(alpha=0.3)
    with replacing(file) as part:
        figure.savefig(part, dpi=110, format="png")


def source_loss(name: str) -> str:
    """Name of the validation loss of a source, in histories and in progress.csv."""
    return f"val_loss {name}"


@names_as_they_are
def draw_restorations(
    file: Path, examples: Sequence[RestorationExample], spacing: tuple[float, ...], title: str
) -> None:
    """Draw rows original, distorted, restored and error; per example the central slices of its axes.

    What does not count is drawn as it was: nobody asks what a network makes of padding, or of visible blocks.
    """
    axes_per_example = 3 if len(spacing) == 3 else 1
    columns = len(examples) * axes_per_example
    figure = Figure(figsize=(1.7 * columns + 1, 7.4), layout="constrained")
    grid = figure.subplots(len(ROWS), columns, squeeze=False)
    for number, example in enumerate(examples):
        original, distorted, restored = (
            np.asarray(part[0], dtype=np.float32) for part in (example.original, example.distorted, example.restored)
        )
        weight = np.asarray(example.weight[0], dtype=np.float32)
        low, high = np.percentile(original[weight > 0], (0.5, 99.5)).tolist()
        restored = np.where(weight > 0, restored, original)
        difference = (restored - original) * weight
        high = high if high > low else low + 1
        for axis in range(axes_per_example):
            column = number * axes_per_example + axis
            images = [central_slice(part, axis) for part in (original, distorted, restored, difference)]
            for row, image in enumerate(images):
                panel = grid[row, column]
                is_error = row == len(ROWS) - 1
                span = high - low
                panel.imshow(
                    image,
                    cmap="RdBu_r" if is_error else "gray",
                    vmin=-span / 2 if is_error else low,
                    vmax=span / 2 if is_error else high,
                    aspect=pixel_aspect(spacing, axis),
                    interpolation="nearest",
                )
                panel.set_xticks([])
                panel.set_yticks([])
        error = float((weight * (restored - original) ** 2).sum() / weight.sum())
        middle = grid[0, number * axes_per_example + axes_per_example // 2]
        middle.set_title(f"{example.label}\nerror {error:.3f}", fontsize=9)
    for row, name in enumerate(ROWS):
        grid[row, 0].set_ylabel(name)
    figure.suptitle(title, fontsize=10)
    with replacing(file) as part:
        figure.savefig(part, dpi=90, format="png")


def choose_examples(labels: Sequence[str]) -> list[int]:
    """Pick up to `MAX_EXAMPLES` pairs with different distortions, the most distorted first."""
    order = sorted(range(len(labels)), key=lambda number: (-labels[number].count(","), number))
    chosen: list[int] = []
    for number in order:
        if len(chosen) < MAX_EXAMPLES and all(labels[number] != labels[other] for other in chosen):
            chosen.append(number)
    return chosen


def central_slice(volume: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Cut a volume in the middle across an axis; a slice is returned as it is."""
    if volume.ndim == 2:
        return volume
    part: npt.NDArray[np.float32] = np.take(volume, volume.shape[axis] // 2, axis=axis)
    return part


def pixel_aspect(spacing: tuple[float, ...], axis: int) -> float:
    """Height of a pixel over its width, so that anisotropic voxels are drawn at their true shape."""
    in_plane = [mm for number, mm in enumerate(spacing) if len(spacing) == 2 or number != axis]
    return in_plane[0] / in_plane[1]
