"""``genesis trainers`` lists the grammar and draws schedules."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import matplotlib.image
import pytest

from nnunet_genesis.trainers.grammar import TOKENS
from nnunet_genesis.trainers.schedule_figure import draw_schedule
from nnunet_genesis.trainers.schedules import SAWTOOTH, WARMUP, Schedule
from tests.commands import genesis

if TYPE_CHECKING:
    from pathlib import Path


def test_the_table_has_a_line_for_every_token_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert genesis("trainers") == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^    (\S+) +\w", printed, re.MULTILINE) == list(TOKENS)
    assert "Not together: _warmup and _sawtooth" in printed


def test_the_table_loads_nothing_heavy() -> None:
    code = (
        "import sys; from nnunet_genesis import cli\n"
        "try: cli.genesis(['trainers'])\n"
        "finally: sys.stderr.write(str({'torch', 'nnunetv2', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "set()"


def test_a_schedule_is_drawn_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "nnUNetTrainerGenesis_sawtooth_40epochs"
    assert genesis("trainers", "--plot", name) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sawtooth, peak 0.001: decoder only, linear up (epoch 0); decoder only, poly down (epoch 1);"
        " whole network, linear up (epochs 2 to 3); whole network, poly down (epochs 4 to 39)",
        f"{name}.png",
    ]
    assert matplotlib.image.imread(tmp_path / f"{name}.png").shape == (320, 640, 4)
    assert genesis("trainers", "--plot", name) == 1
    assert "the picture exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plot", "nnUNetTrainerGenesis_sawtoth"), "_sawtooth is"),
        (("--plot", "nnUNetTrainerGenesis", "--output", "x.doc"), "a picture ends with .png, .svg, .pdf"),
        (("--output", "x.png"), "nothing is drawn"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert genesis("trainers", *arguments) == 1
    assert message in capsys.readouterr().err


def test_different_schedules_are_different_pictures(tmp_path: Path) -> None:
    schedules = [
        Schedule(),
        Schedule(frozen=True),
        Schedule(layerwise=True),
        Schedule(WARMUP),
        Schedule(SAWTOOTH),
    ]
    pictures = []
    for number, schedule in enumerate(schedules):
        draw_schedule(tmp_path / f"{number}.png", schedule, 1000, "the same title")
        pictures.append((tmp_path / f"{number}.png").read_bytes())
    assert len(set(pictures)) == len(pictures)
