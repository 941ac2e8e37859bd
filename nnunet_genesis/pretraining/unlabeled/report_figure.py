"""The picture of a pool: what its scans look like, where patches will be taken, and what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from nnunet_genesis.figure_text import names_as_they_are, plain_log_ticks
from nnunet_genesis.files import replacing
from nnunet_genesis.pretraining.case_files import open_case, read_part
from nnunet_genesis.pretraining.figures import pixel_aspect
from nnunet_genesis.pretraining.foreground import cell_borders, decode_map

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.unlabeled.pool import PoolCase
    from nnunet_genesis.pretraining.unlabeled.report import BuildOutcome

MAX_PICTURES, COLUMNS = 12, 6
MAX_RANGES = 60
"""Cases whose intensities are drawn."""


@names_as_they_are
def draw_pool(file: Path, outcome: BuildOutcome) -> None:
    """Draw up to 12 evenly chosen cases with their foreground maps, intensities, sizes, and counts of skipped scans.

    Args:
        file: New picture.
        outcome: A pool with at least one case.
    """
    chosen = _choose(outcome.cases, MAX_PICTURES)
    rows = -(-len(chosen) // COLUMNS)
    figure = Figure(figsize=(14, 2.7 * rows + 4.0), layout="constrained")
    pictures, facts = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.5 * rows, 3.6))[:, 0]
    panels = pictures.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, case in zip(panels, chosen, strict=False):
        _draw_case(panel, outcome.folder, case, outcome.planned.channel_names)
    intensities, sizes, reasons = facts.subplots(1, 3)
    _draw_intensities(intensities, outcome)
    _draw_sizes(sizes, outcome)
    _draw_reasons(reasons, outcome)
    planned = outcome.planned
    title = (
        f"pool {outcome.folder.name}: {len(outcome.cases)} scans for {planned.dataset_name} {planned.configuration};"
        " orange: at least half foreground"
    )
    pictures.suptitle(title, fontsize=11)
    with replacing(file) as part:
        figure.savefig(part, dpi=90, format="png")


def _draw_case(panel: Any, folder: Path, case: PoolCase, channel_names: Sequence[str]) -> None:
    axis = int(np.argmax(case.spacing)) if case.shape[1:].count(1) == 0 else case.shape[1:].index(1)
    middle = case.shape[1 + axis] // 2
    part = tuple(slice(middle, middle + 1) if other == axis else slice(None) for other in range(3))
    file = folder / case.file
    channel = _first_present(case)
    picture = read_part(open_case(file), (slice(channel, channel + 1), *part), file)[0].squeeze(axis)
    low, high = (case.statistics[channel]["preprocessed"][name] for name in ("percentile_00_5", "percentile_99_5"))
    panel.imshow(
        picture,
        cmap="gray",
        vmin=low,
        vmax=high,
        aspect=pixel_aspect(tuple(case.spacing), axis),
        interpolation="nearest",
    )
    shares = _spread(decode_map(case.foreground), case.shape[1:])[part].squeeze(axis)
    if shares.min() < 128 <= shares.max():
        panel.contour(shares, levels=[127.5], colors="tab:orange", linewidths=0.8)
    size = " x ".join(str(side) for side in case.shape[1:])
    name = case.identifier if len(case.identifier) <= 28 else f"{case.identifier[:25]}..."
    modality = f"{channel_names[channel]}, " if len(case.statistics) > 1 else ""
    panel.set_title(f"{name}\n{modality}{size}, {case.foreground_share:.0%} foreground", fontsize=7)


def _first_present(case: PoolCase) -> int:
    """The first channel that holds more than one value: modalities may be absent; 0 where none does."""
    channels = enumerate(case.statistics)
    return next((channel for channel, told in channels if told["raw"]["min"] < told["raw"]["max"]), 0)


def _spread(cells: npt.NDArray[np.uint8], shape: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Repeat the cells of a map to the size of the case."""
    for axis, side in enumerate(shape):
        cells = np.repeat(cells, np.diff(cell_borders(side)), axis=axis)
    return cells


def _draw_intensities(panel: Any, outcome: BuildOutcome) -> None:
    channel = min(map(_first_present, outcome.cases))
    having = [case for case in outcome.cases if _first_present(case) == channel]
    raw = [case.statistics[channel]["raw"] for case in _choose(having, MAX_RANGES)]
    numbers = np.arange(len(raw))
    low, median, high = (
        np.array([entry[name] for entry in raw]) for name in ("percentile_00_5", "median", "percentile_99_5")
    )
    panel.vlines(numbers, low, high, color="tab:blue", linewidth=2)
    panel.plot(numbers, median, "o", color="black", markersize=3)
    if low.min() >= 0 and high.max() > 100 * max(high.min(), 1e-6):
        linear_below = max(float(high.min()), 1e-6)
        panel.set_yscale("symlog", linthresh=linear_below)
        plain_log_ticks(panel.yaxis, linear_below)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_xlabel("scan")
    panel.set_ylabel("raw intensity")
    panel.set_title(f"{outcome.planned.channel_names[channel]}: 0.5 to 99.5 percentile, median", fontsize=9)


def _draw_sizes(panel: Any, outcome: BuildOutcome) -> None:
    planned = outcome.planned
    patch = planned.patch_size if len(planned.patch_size) == 3 else (1, *planned.patch_size)
    depths = [case.shape[1] for case in outcome.cases]
    widths = [(case.shape[2] * case.shape[3]) ** 0.5 for case in outcome.cases]
    panel.plot(widths, depths, "o", markersize=4, alpha=0.5, color="tab:blue")
    panel.plot([(patch[1] * patch[2]) ** 0.5], [patch[0]], "x", color="tab:red", markersize=9, label="patch")
    panel.set_xlabel("height and width (geometric mean), voxels")
    panel.set_ylabel("depth, voxels")
    panel.margins(0.1)
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=8)
    panel.set_title("preprocessed sizes", fontsize=9)


def _draw_reasons(panel: Any, outcome: BuildOutcome) -> None:
    counts = [("in the pool", len(outcome.cases)), *outcome.count_reasons()]
    names = [name for name, _ in counts][::-1]
    values = [count for _, count in counts][::-1]
    colors = ["tab:gray"] * (len(counts) - 1) + ["tab:green"]
    bars = panel.barh(names, values, color=colors)
    panel.bar_label(bars, fontsize=8, padding=2)
    panel.margins(x=0.12)
    panel.set_ylim(-0.6, max(len(counts), 4) - 0.4)
    panel.set_xlabel("scans")
    panel.set_title("kept, and left out by reason", fontsize=9)


def _choose(cases: Sequence[PoolCase], count: int) -> list[PoolCase]:
    """Pick cases at even distances, the first and the last among them."""
    if len(cases) <= count:
        return list(cases)
    return [cases[round(number)] for number in np.linspace(0, len(cases) - 1, count)]
