"""Overlays of test cases: what is written above them fits on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.image import imread

from nnunet_genesis.benchmark.figures.overlays import Example, draw_overlays

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "title",
    [
        "hippocampus_282: worst of scratch, worst of semantic-genesis",
        f"{'long_name_of_a_case_' * 6}: best of $x_1$, best of masked-genesis-1000-epochs",
    ],
)
def test_titles_fit_on_the_page(tmp_path: Path, title: str) -> None:
    image = np.random.default_rng(0).normal(size=(4, 60, 50)).astype(np.float32)
    reference = np.zeros(image.shape, np.int64)
    reference[1:3, 20:40, 15:35] = 1
    segmentations = {"reference": reference, "scratch: Dice 0.7": reference, "mg: Dice 0.8": np.roll(reference, 2, 1)}
    file = tmp_path / "cases.png"
    draw_overlays(file, [Example(title, image, segmentations, (3.0, 1.0, 1.0))], {"target": [1]})
    picture = imread(file)[..., :3]
    assert picture.min() < 0.1
    for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert edge.min() > 0.95, "letters reach the edge of the page"
