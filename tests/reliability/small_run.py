"""Whole pretrainings of a second each, in this process, and what happens to them on the way."""

from __future__ import annotations

import logging
import os
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.pretraining import monitor, run_files
from nnunet_genesis.pretraining.saving import SaveSchedule
from tests.commands import pretrain
from tests.preprocessed import DATASET, smooth_cases, write_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOGGER = logging.getLogger("nnunet_genesis")
PATCH = (8, 16, 16)


def write_cases(root: Path, monkeypatch: pytest.MonkeyPatch, count: int = 12) -> Path:
    """Write a small dataset, and return the folder of its preprocessed cases."""
    return write_dataset(root, smooth_cases(count, (10, 24, 24)), PATCH, monkeypatch) / "nnUNetPlans_cases"


def run(output: Path, *more: object, epochs: int = 4, workers: int = 0) -> int:
    """Pretrain for a few steps; returns the exit code."""
    return pretrain(
        DATASET, "-device", "cpu", "-np", workers, "--epochs", epochs, "--iterations-per-epoch", 3, "--output", output,
        *more,
    )  # fmt: skip


def save_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every step write a checkpoint, and give up soon where that fails."""
    monkeypatch.setattr(SaveSchedule, "is_due_by_time", lambda _: True)
    monkeypatch.setattr(run_files, "SECONDS_TO_INSIST_WHEN_FINISHED", 0.1)


def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write noise where pictures are drawn, which takes most of the time of a short run."""
    for name in ("draw_progress", "draw_restorations"):
        monkeypatch.setattr(monitor, name, lambda file, *_: file.write_bytes(os.urandom(20_000)))


@contextmanager
def when_told(text: str, action: Callable[[], object]) -> Iterator[list[str]]:
    """Act once, in the middle of a run, when its log says something; yields the whole log."""
    told: list[str] = []
    done: list[bool] = []

    def listen(record: logging.LogRecord) -> bool:
        told.append(record.getMessage())
        if text in told[-1] and not done:
            done.append(True)
            action()
        return True

    LOGGER.addFilter(listen)
    try:
        yield told
    finally:
        LOGGER.removeFilter(listen)
        assert done, f"the log never said {text!r}:\n" + "\n".join(told)


@contextmanager
def small_disk(folder: Path, megabytes: int = 4) -> Iterator[Path]:
    """A file system of its own, and a folder for output on it."""
    folder.mkdir()
    mount(folder, megabytes)
    try:
        (folder / "output").mkdir()
        yield folder / "output"
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def mount(folder: Path, megabytes: int = 4) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a disk that is full or away takes the right to mount a tmpfs ({mounted.stderr})")


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "filler").open("wb", buffering=0) as stream:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    stream.write(os.urandom(size))


def read(output: Path, name: str = checkpoint.FINAL_NAME) -> dict[str, Any]:
    return checkpoint.read(output / name)


def same_weights(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one["network_weights"].keys() == two["network_weights"].keys() and all(
        torch.equal(tensor, two["network_weights"][name]) for name, tensor in one["network_weights"].items()
    )
