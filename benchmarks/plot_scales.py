"""One place at three scales, as anti-aliasing leaves it and with its sharpness hidden, and mean spectra.

    python -m benchmarks.plot_scales docs/images/scales.png

Real scans are those of tests/real_data.py.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from nnunet_genesis.pretraining.scales.carrying import SCALES
from nnunet_genesis.pretraining.scales.patches import ScaledPatches
from nnunet_genesis.pretraining.scales.sharpness import COARSENESS, Sharpness
from tests.pretraining.scales.spectrum import BINS, measure_spectra, real_scans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = tuple(
    (name, title, coarseness)
    for name, title in (("sts_ct", "CT"), ("sts_mr_t1", "T1 MRI"))
    for coarseness in (None, COARSENESS)
)
PATCH = (16, 64, 64)
SHOWN = Sharpness(1.5, 1.43)
"""The middle of what is drawn."""
SPECTRUM_PATCH, SPECTRUM_PATCHES = (16, 32, 32), 400
COLOURS = ("tab:blue", "tab:orange", "tab:green")


def draw_row(panels: list[Axes], name: str, coarseness: tuple[float, float] | None, number: int) -> None:
    """Three scales of one patch, and the spectra of many."""
    with TemporaryDirectory() as folder:
        index, groups = real_scans(Path(folder), name, 8)

        def dataset(patch_size: tuple[int, ...]) -> ScaledPatches:
            return ScaledPatches(
                [index], [1.0], patch_size, max_background_share=0.25, seed=(1,), sharp_share=0, coarseness=coarseness
            )

        patches = dataset(PATCH)
        places = (patches.locate(one) for one in range(1000))
        place = [place for place in places if place.label >= 0][number]
        sharpness = None if coarseness is None else SHOWN
        images = [patches.read(replace(place, scale=scale, sharpness=sharpness))[0][0] for scale in range(len(SCALES))]
        spectra = measure_spectra(dataset(SPECTRUM_PATCH), groups, SPECTRUM_PATCHES)
    low, high = np.percentile(images[-1], (0.5, 99.5)).tolist()
    for panel, image in zip(panels, images, strict=False):
        panel.imshow(image[PATCH[0] // 2], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
    frequencies = (np.arange(BINS) + 0.5) / BINS / 2
    for scale, colour in enumerate(COLOURS):
        decibels = 10 / np.log(10) * spectra.without_gain().features[spectra.labels == scale].mean(0)
        panels[-1].plot(frequencies, decibels, color=colour, label=f"{SCALES[scale]:g}")
    panels[-1].set_ylabel("power, dB", fontsize=8)
    panels[-1].yaxis.set_label_position("right")
    panels[-1].yaxis.tick_right()
    panels[-1].tick_params(labelsize=7)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--place", type=int, default=0, help="which of the labelled places to show")
    options = parser.parse_args()
    figure = Figure(figsize=(9.2, 9), layout="constrained")
    grid = figure.subplots(len(ROWS), 4, width_ratios=(1, 1, 1, 1.15))
    for panels, (name, title, coarseness) in zip(grid, ROWS, strict=True):
        draw_row(list(panels), name, coarseness, options.place)
        panels[0].set_ylabel(f"{title}, " + ("as it is" if coarseness is None else "sharpness hidden"), fontsize=9)
    for panel, scale in zip(grid[0], SCALES, strict=False):
        panel.set_title(f"scale {scale:g}", fontsize=10)
    grid[0, -1].set_title("mean spectrum, without its mean", fontsize=9)
    grid[0, -1].legend(fontsize=7, title="scale", title_fontsize=7)
    grid[-1, -1].set_xlabel("cycles per voxel of the patch", fontsize=8)
    figure.savefig(options.file, dpi=100)


if __name__ == "__main__":
    main()
