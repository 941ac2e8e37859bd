"""Files that our own commands, or nnU-Net's, write and we read again."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.collect import list_reports
from nnunet_genesis.benchmark.record import read_record
from nnunet_genesis.benchmark.run_folder import RunFolder
from nnunet_genesis.benchmark.scores import read_case_scores, read_epoch_scores
from nnunet_genesis.pretraining.discovery.storage import find_discovery, read_discovery
from nnunet_genesis.raw_scan_keys import try_scan_keys
from nnunet_genesis.submission.images import find_test_images
from nnunet_genesis.submission.label_maps import find_label_map
from nnunet_genesis.submission.labels import describe_labels, read_labels
from nnunet_genesis.submission.models import RECOMMENDATION, Choice, choose_models
from nnunet_genesis.submission.provenance import describe_model
from tests.benchmark.simulated_folder import Size, write_folder
from tests.reliability.fuzzing.mutations import mutate_json, mutate_lines
from tests.reliability.fuzzing.reader import Reader
from tests.scans.files import voxels, write_image
from tests.submission.models import write_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DATASET = "Dataset777_Written"
_SMALL = Size(initialisations=("scratch", "masked"), labelled=(5,), schedules=("standard",), seeds=1)


def _set_folders(folder: Path) -> None:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / variable).mkdir()
        os.environ[variable] = str(folder / variable)


def _make_benchmark(folder: Path) -> Sequence[Path]:
    write_folder(folder / "benchmark", _SMALL)
    return [folder / "benchmark" / "benchmark.json"]


def _read_benchmark(_: Path, file: Path) -> None:
    record = read_record(file.parent)
    if record is not None:
        list_reports(file.parent, record)


def _make_tables(folder: Path) -> Sequence[Path]:
    _make_benchmark(folder)
    tables = [folder / "benchmark" / name for name in ("results.csv", "epochs.csv")]
    for table in tables:
        table.write_text("\n".join(table.read_text().split("\n")[:40]))
    return tables


def _read_tables(_: Path, file: Path) -> None:
    (read_case_scores if file.name == "results.csv" else read_epoch_scores)(file)


def _make_run(folder: Path) -> Sequence[Path]:
    _make_benchmark(folder)
    file = next(iter((folder / "benchmark" / "runs").glob("*/run.json")))
    file.with_name("scores.csv").unlink(missing_ok=True)
    return [file]


def _read_run(_: Path, file: Path) -> None:
    RunFolder(file.parent).state()


def _make_discovery(folder: Path) -> Sequence[Path]:
    one = {"reference": 0, "place": [1.0, 2.0, 3.0], "train": [0, 1], "held_out": [2]}
    scans = [{"source": "labelled", "case": f"case_{n}", "box": [[0, 9]] * 3} for n in range(3)]
    content = {"classes": [one, {**one, "reference": 1}], "scans": scans, "crop_size": [4, 8, 8], "spacing": [3, 1, 1]}
    file = folder / "discovery" / "0123456789abcdef" / "discovery.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({**content, "report": {"error": 0.1}, "provenance": {"seed": 0}}))
    return [file]


def _read_discovery(folder: Path, file: Path) -> None:
    find_discovery(folder, "0" * 64)
    discovery = read_discovery(file)
    discovery.digest()
    discovery.held_out_sources()


def _make_models(folder: Path) -> Sequence[Path]:
    _set_folders(folder)
    results = folder / "nnUNet_results" / _DATASET
    name = "nnUNetTrainerGenesis__nnUNetPlans__3d_cascade_fullres"
    model = write_model(results, name, previous="3d_lowres")
    write_model(results, "nnUNetTrainerGenesis__nnUNetPlans__3d_lowres")
    told = {"trainer": "nnUNetTrainerGenesis", "plans_identifier": "nnUNetPlans", "configuration": "3d_cascade_fullres"}
    best = {"best_model_or_ensemble": {"selected_model_or_models": [told]}, "folds": [0]}
    (results / RECOMMENDATION).write_text(json.dumps(best))
    start = model / "fold_0" / "genesis_initialization.json"
    start.write_text(json.dumps({"initialization": "scratch", "seed": 0, "test_cases_seen_in_pretraining": ["a"]}))
    return [results / RECOMMENDATION, model / "plans.json", model / "dataset.json", start]


def _read_models(_: Path, __: Path) -> None:
    for model in choose_models(_DATASET, Choice(folds=("0",))):
        describe_model(model)


def _make_images(folder: Path) -> Sequence[Path]:
    _set_folders(folder)
    dataset = folder / "nnUNet_raw" / _DATASET
    for part in ("imagesTs", "imagesTr"):
        write_image(dataset / part / "case_1_0000.nii.gz", voxels((4, 8, 8)))
    labels = {"background": 0, "liver": 1}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTest": 1, "numTraining": 1, "file_ending": ".nii.gz"}
    (dataset / "dataset.json").write_text(json.dumps(content))
    task = folder / "task.json"
    task.write_text(json.dumps({"labels": {"0": "background", "1": "liver"}, "test": ["./imagesTs/case_1.nii.gz"]}))
    keys = folder / "keys.json"
    try_scan_keys(_DATASET, "imagesTr", None, cache_file=keys, workers=1)
    return [dataset / "dataset.json", task, keys]


def _read_images(folder: Path, _: Path) -> None:
    images = find_test_images(_DATASET)
    describe_labels(read_labels(images.dataset_json))
    try_scan_keys(_DATASET, "imagesTr", None, cache_file=folder / "keys.json", workers=1)
    find_label_map(images, (), None)
    find_label_map(images, (), folder / "task.json")


RECORDS = (
    Reader("benchmark", _make_benchmark, _read_benchmark, mutate_json),
    Reader("score_tables", _make_tables, _read_tables, mutate_lines),
    Reader("run_record", _make_run, _read_run, mutate_json),
    Reader("discovery", _make_discovery, _read_discovery, mutate_json),
    Reader("trained_models", _make_models, _read_models, mutate_json),
    Reader("test_images", _make_images, _read_images, mutate_json, is_cache=True),
)
