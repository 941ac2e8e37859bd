"""A tiny dataset, and the run on it that nothing disturbs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nnunet_genesis import checkpoint
from tests.preprocessed import smooth_cases, write_dataset
from tests.reliability.interruptions.lives import Blow, Life

if TYPE_CHECKING:
    from pathlib import Path

STEPS_PER_EPOCH, EPOCHS = 5, 6


@dataclass(frozen=True)
class Place:
    """Starts lives on one dataset.

    Attributes:
        root: Folder of everything.
        environment: nnU-Net's variables.
    """

    root: Path
    environment: dict[str, str]

    def start(self, output: Path, *more: str, blows: tuple[Blow, ...] = (), workers: int = 0) -> Life:
        """Begin or go on with the run in a folder, as a requeued job would: always with ``--c``."""
        arguments = (
            "777", "-c", "2d", "-device", "cpu", "-np", str(workers), "--epochs", str(EPOCHS), "--iterations-per-epoch",
            str(STEPS_PER_EPOCH), "--seed", "3", "--save-every-epochs", "1", "--output", str(output), "--c", *more,
        )  # fmt: skip
        number = len(list(self.root.glob("life_*")))
        return Life(arguments, self.environment, self.root / f"life_{number}", blows)


@dataclass(frozen=True)
class Undisturbed:
    """What a run leaves that nothing disturbs.

    Attributes:
        final: Its result.
        best: Its best checkpoint.
        seconds: How long it took.
        calls: Function calls per checkpoint that it wrote.
    """

    final: dict[str, Any]
    best: dict[str, Any]
    seconds: float
    calls: list[int]

    def assert_left_in(self, folder: Path) -> None:
        """Bit for bit the same weights, the same losses, and nothing else than an undisturbed run leaves."""
        for name, whole in (("checkpoint_final.pth", self.final), ("checkpoint_best.pth", self.best)):
            ours = checkpoint.read(folder / name)
            assert ours["network_weights"].keys() == whole["network_weights"].keys()
            for key, tensor in whole["network_weights"].items():
                assert torch.equal(tensor, ours["network_weights"][key]), (name, key)
            assert _losses(ours) == _losses(whole), name
        assert not (folder / "checkpoint_latest.pth").exists()
        assert not list(folder.glob(".*.tmp"))
        assert len((folder / "progress.csv").read_text().splitlines()) == 1 + EPOCHS
        assert len(list(folder.glob("pretraining_log_*.txt"))) == 1


def _losses(content: dict[str, Any]) -> list[dict[str, float]]:
    return [
        {name: value for name, value in entry.items() if name != "steps_per_second"}
        for entry in content["genesis"]["history"]
    ]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("interruptions")
    with pytest.MonkeyPatch.context() as monkeypatch:
        write_dataset(root, smooth_cases(6, (4, 20, 20)), (16, 16), monkeypatch)
        rooms = {name: os.environ[name] for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    return Place(root, {**rooms, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="session")
def undisturbed(place: Place) -> Undisturbed:
    folder = place.root / "undisturbed"
    begun = time.monotonic()
    life = place.start(folder)
    assert life.join() == 0, life.printed
    return Undisturbed(
        final=checkpoint.read(folder / "checkpoint_final.pth"),
        best=checkpoint.read(folder / "checkpoint_best.pth"),
        seconds=time.monotonic() - begun,
        calls=life.calls_per_writing,
    )
