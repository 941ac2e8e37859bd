"""Where a submission comes from: what stands in ``submission.json``, beside what is handed in and never in it."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nnunet_genesis import __version__
from nnunet_genesis.checkpoint import sha256_of_file
from nnunet_genesis.files import write_json
from nnunet_genesis.trainers.initialization_record import read_initialization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_genesis.submission.models import TrainedModel

FILE_NAME = "submission.json"
_PACKAGES = ("nnunetv2", "torch", "numpy", "SimpleITK", "dynamic_network_architectures")
_INITIALIZATION = (
    "initialization", "file", "sha256", "format", "pretext", "pretraining_dataset", "seed",
    "validation_cases_seen_in_pretraining", "test_cases_seen_in_pretraining",
)  # fmt: skip


def describe_model(model: TrainedModel) -> dict[str, Any]:
    """Folder, names, folds, checkpoints with their SHA-256, and what each fold's training started from."""
    trainer, plans, configuration = model.name.split("__")
    told: dict[str, Any] = {
        "folder": str(model.folder),
        "trainer": trainer,
        "plans": plans,
        "configuration": configuration,
        "folds": {
            fold: {
                "checkpoint": file.name,
                "sha256": sha256_of_file(file),
                "started_from": _tell_beginning(file),
            }
            for fold, file in zip(model.folds, model.checkpoints, strict=True)
        },
    }
    if model.previous is not None:
        told["previous_stage"] = describe_model(model.previous)
    return told


def describe_environment() -> dict[str, str]:
    """Versions of what a submission depends on."""
    return {
        "nnunet_genesis": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def write_submission_json(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write ``submission.json``, with the versions and the time."""
    file = folder / FILE_NAME
    told = {
        **content,
        "package_versions": describe_environment(),
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_json(told, file, indent=2)
    return file


def seen_test_cases(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Test cases that the pretraining of any of these models saw, as far as is known."""
    seen: set[str] = set()
    for model in models:
        for fold in model["folds"].values():
            seen.update(map(str, (fold["started_from"] or {}).get("test_cases_seen_in_pretraining") or ()))
        if "previous_stage" in model:
            seen.update(seen_test_cases([model["previous_stage"]]))
    return sorted(seen)


def _tell_beginning(checkpoint: Path) -> dict[str, Any] | None:
    told = read_initialization(checkpoint.parent, checkpoint)
    return told and {name: told[name] for name in _INITIALIZATION if name in told}
