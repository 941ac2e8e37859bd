"""The picture of a schedule: the learning rate of decoder and encoder over the epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from nnunet_genesis.trainers.schedules import list_stages, settings_of_epoch

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.trainers.schedules import Schedule

EXAMPLE_STAGES = 6
"""Encoder stages that a layerwise schedule is drawn with; nnU-Net plans this many for 128 voxels."""


def draw_schedule(file: Path, schedule: Schedule, num_epochs: int, title: str) -> None:
    """Draw the learning rate of the decoder and of the encoder.

    Args:
        file: Where to, by its ending; ``.png``, ``.svg`` or ``.pdf``.
        schedule: What to draw.
        num_epochs: Of the whole training.
        title: Of the picture.
    """
    epochs = np.arange(num_epochs)
    settings = [settings_of_epoch(schedule, int(epoch), num_epochs) for epoch in epochs]
    decoder = np.array([entry.learning_rate for entry in settings])
    trains = np.array([entry.trains_encoder for entry in settings])
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    marker = "o" if num_epochs <= 30 else None
    axes.plot(epochs, decoder, color="tab:orange", label="decoder", linewidth=3, alpha=0.6, marker=marker)
    factors = schedule.encoder_factors(EXAMPLE_STAGES if schedule.layerwise else 1)
    for stage, factor in enumerate(factors):
        label = "encoder (frozen)" if schedule.frozen else "encoder"
        if schedule.layerwise:
            label = f"encoder stage {stage}" + {0: " (stem)", len(factors) - 1: " (deepest)"}.get(stage, "")
        shade = (0.12, 0.47, 0.71, 0.35 + 0.65 * (stage + 1) / len(factors))
        rate = np.where(trains, decoder * factor, 0)
        axes.plot(epochs, rate, color=shade, linewidth=1.2, label=label, marker=marker, markersize=3)
    for later in list_stages(schedule, num_epochs)[1:]:
        axes.axvline(later.first_epoch - 0.5, color="0.6", linestyle=":", linewidth=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=-0.02 * schedule.peak)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize="small", loc="upper right")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=100)
