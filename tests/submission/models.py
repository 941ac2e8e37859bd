"""Model folders that were not trained, for tests of what is made of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from tests.preprocessed import tiny_plans


def write_model(results: Path, name: str, *, folds: tuple[str, ...] = ("0",), previous: str | None = None) -> Path:
    """``TRAINER__PLANS__CONFIGURATION`` with small checkpoints that nothing can be predicted with, of the raw dataset.

    Args:
        results: ``nnUNet_results/DATASET``.
        name: Of the folder.
        folds: Folds to write.
        previous: Configuration of the stage before.
    """
    folder = results / name
    trainer, _, configuration = name.split("__")
    plans = tiny_plans((8, 8, 8), 1)
    (settings,) = plans["configurations"].values()  # type: ignore[attr-defined]
    told = {**settings, "previous_stage": previous} if previous else settings
    plans["configurations"] = {configuration: told, **({previous: settings} if previous else {})}
    for fold in folds:
        (folder / f"fold_{fold}").mkdir(parents=True)
        content = {
            "network_weights": {"weight": torch.full((3,), float(len(name)))},
            "optimizer_state": {"momentum": torch.zeros(1000)},
            "trainer_name": trainer,
            "init_args": {"configuration": configuration},
        }
        torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    raw = Path(os.environ["nnUNet_raw"], results.name, "dataset.json") if "nnUNet_raw" in os.environ else None
    (folder / "dataset.json").write_text(raw.read_text() if raw is not None and raw.is_file() else "{}")
    return folder
