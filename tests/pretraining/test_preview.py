"""``genesis preview``: pictures of what pretraining would really do, and nothing overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
import torch

from nnunet_genesis.pretraining import preview
from tests.commands import genesis
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.pretraining.preview_figures import PreviewRow

NAMES = ["all_together", "in-painting", "mirroring", "non-linear_intensity", "out-painting", "shuffling"]


def run(*arguments: str) -> int:
    return genesis("preview", "777", *arguments)


SHAPES = {
    "3d": ((24, 40, 40), (20, 32, 32), 1),
    "padded, 4 channels": ((8, 24, 24), (8, 32, 32), 4),
    "2d": ((6, 40, 40), (32, 32), 2),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_every_distortion_gets_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    shape, patch_size, channels = SHAPES[kind]
    write_dataset(tmp_path, smooth_cases(4, shape, channels=channels), patch_size, monkeypatch)
    output = tmp_path / "pictures"
    arguments = ["-c", "2d"] if kind == "2d" else []
    assert run(*arguments, "--output", str(output), "--count", "2") == 0
    assert sorted(file.stem for file in output.iterdir()) == NAMES
    for file in output.iterdir():
        picture = matplotlib.image.imread(file)
        assert picture[..., :3].std() > 0.05, "not blank"
    said = capsys.readouterr().out
    assert f"patch: {' x '.join(map(str, patch_size))} voxels" in said
    assert all(f"channel channel {channel}: u = 0 at" in said for channel in range(channels))
    assert str(output / "shuffling.png") in said


@pytest.mark.parametrize(
    ("pretext", "names"),
    [
        ("masked", ["all_together", "masking", "mirroring"]),
        (
            "masked-genesis",
            ["all_together", "low_resolution", "masking", "mirroring", "noise", "non-linear_intensity", "shuffling"],
        ),
    ],
)
def test_masks_and_what_goes_with_them_get_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pretext: str, names: list[str]
) -> None:
    write_dataset(tmp_path, smooth_cases(3, (24, 40, 40)), (20, 32, 32), monkeypatch)
    output = tmp_path / "pictures"
    assert run("--pretext", pretext, "--output", str(output), "--count", "1") == 0
    assert sorted(file.stem for file in output.iterdir()) == names
    assert ("longest shuffling window" in capsys.readouterr().out) == (pretext == "masked-genesis")


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[PreviewRow]]:
    """The rows of every picture, of a dataset with two channels."""
    write_dataset(tmp_path, smooth_cases(4, (24, 40, 40), channels=2), (20, 32, 32), monkeypatch)
    rows: dict[str, list[PreviewRow]] = {}

    def keep(file: Path, of_picture: Sequence[PreviewRow], *_: Any) -> None:
        rows[file.stem] = list(of_picture)

    monkeypatch.setattr(preview, "draw_preview", keep)
    assert run("--output", str(tmp_path / "pictures"), "--seed", "5", "--shuffling-window", "2") == 0
    return rows


def test_pictures_show_one_distortion_each_with_its_parameters(drawn: dict[str, list[PreviewRow]]) -> None:
    expected = {
        "mirroring": "mirrored along axis",
        "shuffling": "shuffled in windows of",
        "non-linear_intensity": "intensity curve",
        "in-painting": "noise in ",
        "out-painting": "noise around ",
    }
    for name, words in expected.items():
        for row in drawn[name]:
            assert len(row.explanation) == 1
            assert row.explanation[0].startswith((words, "not painted", "undistorted"))
    assert any("noise in" in row.explanation[0] for row in drawn["in-painting"])
    assert [row.label for row in drawn["shuffling"]] == [
        "patch 0, channel 0", "patch 0, channel 1", "patch 1, channel 0", "patch 2, channel 0",
    ]  # fmt: skip


def test_pictures_show_what_happens_to_the_voxels(drawn: dict[str, list[PreviewRow]]) -> None:
    for row in drawn["shuffling"]:
        assert torch.equal(row.before.flatten().sort().values, row.after.flatten().sort().values)
        assert not torch.equal(row.before, row.after)
        longest = {int(side) for part in row.explanation[0].split(" in ")[1:] for side in _sides(part)}
        assert max(longest) <= 2, "--shuffling-window 2"
    for row in drawn["out-painting"]:
        assert 0.3 < float((row.before != row.after).float().mean()) < 0.95
    for row in drawn["non-linear_intensity"]:
        order = row.before.flatten().argsort()
        steps = row.after.flatten()[order].diff()
        assert (steps >= -1e-5).all() or (steps <= 1e-5).all(), "monotone"
    for row in drawn["mirroring"]:
        assert torch.equal(row.before.flatten().sort().values, row.after.flatten().sort().values)
    clean = {name: [row.before.sum().item() for row in drawn[name]] for name in ("shuffling", "out-painting")}
    np.testing.assert_allclose(clean["shuffling"], clean["out-painting"], rtol=1e-4)


def _sides(part: str) -> list[str]:
    words = part.replace("windows of", "").split(",")[-1].split()
    return [word for word in words if word.isdecimal()][:3] if " x " in part else []


def test_a_used_folder_and_wrong_numbers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path, smooth_cases(3, (8, 20, 20)), (8, 16, 16), monkeypatch)
    output = tmp_path / "mine"
    output.mkdir()
    (output / "notes.txt").write_text("keep me")
    assert run("--output", str(output)) == 1
    said = capsys.readouterr().err
    assert "the output folder of the preview is there already" in said
    assert "--output" in said
    assert [file.name for file in output.iterdir()] == ["notes.txt"]
    assert run("--count", "0", "--output", str(tmp_path / "new")) == 1
    assert "--count 0: must be at least 1" in capsys.readouterr().err
    assert run("--shuffling-window", "0", "--output", str(tmp_path / "new")) == 1
    assert "--shuffling-window 0: must be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
