"""Pictures: written, of a readable size, and showing different distortions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from nnunet_genesis.pretraining.figures import RestorationExample, choose_examples, draw_progress, draw_restorations
from nnunet_genesis.pretraining.validation import Baselines

if TYPE_CHECKING:
    from pathlib import Path


def test_examples_differ_and_the_most_distorted_come_first() -> None:
    labels = [
        "undistorted",
        "shuffled",
        "shuffled, inverted, out-painted",
        "shuffled",
        "non-linear, in-painted",
        "inverted",
    ]
    assert choose_examples(labels) == [2, 4, 0, 1]
    assert choose_examples(["shuffled"] * 5) == [0]


@pytest.mark.parametrize(("size", "columns"), [((16, 64, 64), 6), ((64, 48), 2)])
def test_restorations_show_every_axis_of_every_example(tmp_path: Path, size: tuple[int, ...], columns: int) -> None:
    patch = torch.rand(2, *size)
    example = RestorationExample("shuffled", patch, patch.flip(0), patch * 0.9, torch.ones(1, *size))
    spacing = (3.0, 1.0, 1.0)[-len(size) :]
    draw_restorations(tmp_path / "restorations.png", [example, example], spacing, "title")
    width, height = Image.open(tmp_path / "restorations.png").size
    assert height > 500
    assert width > 130 * columns


def test_what_does_not_count_is_drawn_as_it_was(tmp_path: Path) -> None:
    """Whatever a network makes of it, the picture is the same; where it counts, it is not."""
    patch = torch.rand(1, 12, 16, 14)
    weight = (torch.rand(1, 12, 16, 14) < 0.5).float()
    pictures = []
    for garbage in (torch.zeros_like(patch), 5 * (1 - weight), 5 * weight):
        example = RestorationExample("masked 50 %", patch, patch * weight, patch + garbage, weight)
        draw_restorations(tmp_path / "restorations.png", [example], (1.0, 1.0, 1.0), "title")
        pictures.append(Image.open(tmp_path / "restorations.png").tobytes())
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


def test_progress_is_drawn_from_the_first_epoch_on(tmp_path: Path) -> None:
    entry = {"epoch": 0, "train_loss": 1.0, "val_loss": 0.9, "learning_rate": 1e-3}
    for epochs in (1, 50):
        history = [{**entry, "epoch": epoch, "val_loss": 0.9 / (epoch + 1)} for epoch in range(epochs)]
        draw_progress(tmp_path / "progress.png", history, Baselines(2.0, 1.2, 0.8), "title")
        image = Image.open(tmp_path / "progress.png").convert("RGB")
        assert image.size == (880, 660)
        assert len(image.getcolors(1 << 24) or []) > 20
