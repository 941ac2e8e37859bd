"""The folder of a benchmark as it is after its trainings, without any training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from nnunet_genesis.benchmark.record import Record, write_record
from nnunet_genesis.benchmark.run_folder import RUNS
from nnunet_genesis.benchmark.runs import Run, Subset
from nnunet_genesis.benchmark.scores import (
    SCRATCH,
    CaseScore,
    EpochScore,
    RunKey,
    write_case_scores,
    write_epoch_scores,
)
from nnunet_genesis.benchmark.settings import FIXED, BenchmarkSettings
from nnunet_genesis.benchmark.workspace import preprocessed_folder
from nnunet_genesis.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DATASET, PLANS, CONFIGURATION = "Dataset004_Simulated", "nnUNetPlans", "3d_fullres"
LABELS = {"body": [1], "nodule": [2]}
GAINS = {SCRATCH: 0.0, "models-genesis": 0.06, "masked": 0.0}
PATIENTS, EPOCHS = 12, 40


@dataclass(frozen=True)
class Size:
    """What is crossed.

    Attributes:
        initialisations: Keys of `GAINS`, scratch first.
        labelled: Numbers of labelled cases.
        schedules: Of the trainings.
        seeds: How many.
        draws: Key of `SUBSET_DRAWS`.
    """

    initialisations: Sequence[str] = tuple(GAINS)
    labelled: Sequence[int] = (5, 10, 40)
    schedules: Sequence[str] = ("standard", "warmup")
    seeds: int = 3
    draws: str = FIXED


def list_cases() -> dict[str, str]:
    """Name of every test case to its patient; every second patient has two."""
    return {
        f"scan_{patient:02d}{part}": f"patient_{patient:02d}"
        for patient in range(PATIENTS)
        for part in ("a", "b")[: 1 + patient % 2]
    }


def write_folder(folder: Path, size: Size) -> None:
    """Write tables, record, runs and segmentations; the last training failed, and the one before was interrupted."""
    keys = [
        RunKey(name, labelled, schedule, seed)
        for seed in range(size.seeds)
        for labelled in size.labelled
        for schedule in size.schedules
        for name in size.initialisations
    ]
    runs = [Run(key, list(size.labelled).index(key.labelled), f"nnUNetTrainerGenesis_{key.schedule}") for key in keys]
    cases, epochs = _simulate(keys)
    raw = _write_images(folder)
    _write_record(folder, runs, size, raw)
    broken = {runs[-1].key: "failed", runs[-2].key: "interrupted"} if len(runs) > 4 else {}
    for run in runs:
        _write_run(folder, run, cases, broken.get(run.key))
    write_case_scores([score for score in cases if score.run not in broken], folder / "results.csv")
    write_epoch_scores([score for score in epochs if score.run not in broken], folder / "epochs.csv")


def _simulate(keys: list[RunKey]) -> tuple[list[CaseScore], list[EpochScore]]:
    """Scores that grow with the labels, with effects of patients and trainings; some nodules are missed or absent."""
    generator = np.random.default_rng(0)
    patients = generator.normal(0, 0.05, PATIENTS)
    cases: list[CaseScore] = []
    epochs: list[EpochScore] = []
    for key in keys:
        level = 0.9 - 0.5 / np.sqrt(key.labelled) + GAINS[key.initialisation] * 5 / key.labelled
        level += generator.normal(0, 0.008)
        for number, (case, group) in enumerate(list_cases().items()):
            for place, label in enumerate(LABELS):
                dice = level + patients[int(group[-2:])] - 0.15 * place + generator.normal(0, 0.02)
                values = {"dice": dice, "nsd": dice + 0.04, "hd95": 12 * (1 - dice)}
                if place and number == 3:
                    values = dict.fromkeys(values, np.nan)
                elif place and number == 5 and key.labelled == 5:
                    values = {"dice": 0.0, "nsd": 0.0, "hd95": 60.0}
                cases += [CaseScore(key, case, group, label, metric, float(one)) for metric, one in values.items()]
        speed = 4 if key.initialisation == "models-genesis" else 8
        curve = level * (1 - np.exp(-(np.arange(EPOCHS) + 1) / speed)) + generator.normal(0, 0.01, EPOCHS)
        epochs += [EpochScore(key, epoch, "", float(value)) for epoch, value in enumerate(curve)]
    return cases, epochs


def _write_record(folder: Path, runs: list[Run], size: Size, raw: Path) -> None:
    groups = list_cases() | {f"scan_{number}": f"patient_{number}" for number in range(PATIENTS, PATIENTS + 40)}
    settings = BenchmarkSettings(
        dataset=DATASET,
        plans=PLANS,
        configuration=CONFIGURATION,
        plans_sha256="0f" * 32,
        device="cpu",
        cpu_autocast=None,
        epochs=EPOCHS,
        iterations=25,
        subset_seed=0,
        subset_draws=size.draws,
        test_cases=tuple(list_cases()),
        left_out=(),
        groups=groups,
        tolerances_mm=dict.fromkeys(LABELS, 1.0),
    )
    free = sorted(groups.keys() - set(list_cases()))
    initialisations: dict[str, dict[str, Any]] = {
        name: {
            "address": f"pretrainings/{name}.pth",
            "file": f"/pretrainings/{name}.pth",
            "sha256": "ab" * 32,
            "unchecked": [] if name == "models-genesis" else ["the file does not say which scans it saw"],
            "saw_images_of_imagesTs": 0,
            "method": name,
            "epochs": 100,
        }
        for name in size.initialisations
        if name != SCRATCH
    }
    provenance = {
        "nnUNet_raw": str(raw),
        "nnUNet_results": "/data/nnUNet_results",
        "begun": "2025-01-01T00:00:00+00:00",
        "invocations": [{"when": "2025-01-01T00:00:00+00:00", "command": f"genesis benchmark {DATASET}", "host": "a"}],
    }
    subsets = [
        Subset(fold, count, 0, (str(count),), tuple(free[:count])) for fold, count in enumerate(sorted(size.labelled))
    ]
    by_name = {run.identifier: run for run in runs}
    write_record(Record(settings, LABELS, subsets, initialisations, by_name, {}, provenance), folder)


def _write_run(folder: Path, run: Run, cases: list[CaseScore], broken: str | None) -> None:
    own = folder / RUNS / run.identifier
    own.mkdir(parents=True)
    attempt = {
        "command": f"env nnUNet_preprocessed={folder.absolute()}/workspace/nnUNet_preprocessed nnUNetv2_train {DATASET}"
        f" {CONFIGURATION} {run.fold} -tr {run.trainer}",
        "started": "2025-01-01T00:00:00+00:00",
        "host": "a",
        "versions": {"nnunet_genesis": "1.0", "torch": "2.0"},
        "seconds": 120.0,
    }
    record = {"status": broken or "finished", "attempts": [attempt]}
    if broken == "failed":
        record |= {"problem": "nnUNetv2_train ended with code 1", "last_lines": ["RuntimeError: <out of memory>"]}
    if not broken:
        write_case_scores([score for score in cases if score.run == run.key], own / "scores.csv")
        if (run.key.labelled, run.key.seed) == (5, 0):
            _write_predictions(own, run)
    write_json(record, own / "run.json")


def _write_images(folder: Path) -> Path:
    """Raw images, and the benchmark's view of the preprocessed dataset with the references."""
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "body": 1, "nodule": 2}}
    description |= {"numTraining": 1, "file_ending": ".nii.gz"}
    raw = folder.parent / "nnUNet_raw"
    view = preprocessed_folder(folder, folder.parent / "nnUNet_preprocessed" / DATASET) / DATASET
    for made in (raw / DATASET / "imagesTr", raw / DATASET / "labelsTr", view / "gt_segmentations"):
        made.mkdir(parents=True)
    (raw / DATASET / "dataset.json").write_text(json.dumps(description))
    (view / "dataset.json").write_text(json.dumps(description))
    (view / f"{PLANS}.json").write_text(json.dumps({"image_reader_writer": "SimpleITKIO"}))
    for number, case in enumerate(list_cases()):
        segmentation = _draw_scan(number, 0)
        image = 100.0 * segmentation + np.random.default_rng(number).normal(0, 15, segmentation.shape)
        _write_scan(segmentation, view / "gt_segmentations" / f"{case}.nii.gz")
        _write_scan(segmentation, raw / DATASET / "labelsTr" / f"{case}.nii.gz")
        _write_scan(image.astype(np.float32), raw / DATASET / "imagesTr" / f"{case}_0000.nii.gz")
    return raw


def _write_predictions(own: Path, run: Run) -> None:
    model = own / "nnUNet_results" / DATASET / f"{run.trainer}__{PLANS}__{CONFIGURATION}"
    predictions = model / f"fold_{run.fold}" / "validation"
    predictions.mkdir(parents=True)
    for number, case in enumerate(list_cases()):
        off = 4 if run.key.initialisation == SCRATCH else 2
        _write_scan(_draw_scan(number, off), predictions / f"{case}.nii.gz")


def _draw_scan(number: int, off: int) -> NDArray[np.uint8]:
    """A body with a nodule, (z, y, x), moved by some voxels."""
    z, y, x = np.ogrid[:8, :40, :56]
    body = ((z - 4) / 4) ** 2 + ((y - 20) / 15) ** 2 + ((x - 28 - off) / 20) ** 2 <= 1
    nodule = (z - 4) ** 2 + (y - 14 - number % 9) ** 2 + (x - 22 - number % 7 - off) ** 2 <= 16
    return np.asarray(body.astype(np.uint8) + (body & nodule))


def _write_scan(array: NDArray[Any], file: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(image, str(file))
