"""The picture of a pool: for one case and many, flat and deep, and odd names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.image import imread

from nnunet_genesis.pretraining.foreground import encode_map, foreground_mask, map_foreground
from nnunet_genesis.pretraining.unlabeled.case_statistics import describe_intensities
from nnunet_genesis.pretraining.unlabeled.image_storage import write_image
from nnunet_genesis.pretraining.unlabeled.pool import PoolCase
from nnunet_genesis.pretraining.unlabeled.report import BuildOutcome
from nnunet_genesis.pretraining.unlabeled.report_figure import draw_pool
from nnunet_genesis.scans.finding import SkippedScan
from nnunet_genesis.scans.problems import Reason
from tests.pretraining.unlabeled.planned import draw_scan, plan_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration


def make_case(
    folder: Path, planned: PlannedConfiguration, name: str, shape: tuple[int, ...], seed: int, *, absent: int = 0
) -> PoolCase:
    image = draw_scan(seed, shape)[None]
    image[..., : shape[2] // 2] = image.min()
    image = np.concatenate([np.zeros((absent, *shape), np.float32), image])
    mask = foreground_mask(image, planned)
    file = write_image(image, planned.patch_size, folder / name)
    statistics = [{"raw": entry, "preprocessed": entry} for entry in describe_intensities(image)]
    known: dict[str, Any] = {"sha256": "", "scan": "", "raw_sha256": "", "raw_shape": [], "raw_spacing": []}
    return PoolCase(
        identifier=name, file=file.name, bytes=1, shape=list(image.shape), spacing=[3.0, 1.0, 1.0],
        foreground=encode_map(map_foreground(mask)), foreground_share=float(mask.mean()), statistics=statistics,
        sources=[], signature="", seconds=1.0, **known,
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 7, 30])
def test_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    planned = plan_dataset(tmp_path, monkeypatch)
    folder = tmp_path / "pool_$x_1$"
    folder.mkdir()
    shapes = [(12, 40, 30), (1, 20, 20), (3, 5, 70)]
    cases = [make_case(folder, planned, f"case_$a^{number}", shapes[number % 3], number) for number in range(count)]
    skipped = [SkippedScan("x", "x", Reason.DUPLICATE, "") for _ in range(count)]
    outcome = BuildOutcome(planned, folder, cases, [], [], skipped, [], 0, 1.0)
    draw_pool(folder / "pool.png", outcome)
    picture = imread(folder / "pool.png")[..., :3]
    orange, blue = ([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in ("ff7f0e", "1f77b4"))
    for color in (orange, blue):
        assert (np.abs(picture - color).max(-1) < 0.05).sum() > 20, "the outline of the foreground; intensities"
    assert [file.name for file in folder.iterdir() if not file.name.endswith(".b2nd")] == ["pool.png"]


def test_modalities_that_are_absent_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan_dataset(tmp_path, monkeypatch, channels=2)
    gray = []
    for name, absent in (("whole", 0), ("without_t1", 1)):
        case = make_case(tmp_path, planned, name, (12, 40, 30), 0, absent=absent)
        draw_pool(tmp_path / "pool.png", BuildOutcome(planned, tmp_path, [case], [], [], [], [], 0, 1.0))
        picture = imread(tmp_path / "pool.png")[..., :3]
        gray.append(int(((np.ptp(picture, axis=-1) < 0.01) & (np.abs(picture[..., 0] - 0.5) < 0.3)).sum()))
    assert gray[1] > 0.9 * gray[0] > 1000, "the scan's gray, which a blank channel has not"
