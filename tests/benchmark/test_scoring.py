"""Scores of files that nnU-Net itself evaluated: regions, labels out of order, ignored voxels, missing classes."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.evaluation.evaluate_predictions import compute_metrics, save_summary_json
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.utilities.json_export import recursive_fix_for_json_export
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_genesis.benchmark.record import Record
from nnunet_genesis.benchmark.run_folder import RunFolder, State
from nnunet_genesis.benchmark.runs import Run
from nnunet_genesis.benchmark.scores import SCRATCH, RunKey, read_case_scores, read_epoch_scores
from nnunet_genesis.benchmark.scoring import fold_folder, is_predicted, read_labels, remove_checkpoints, score_run
from nnunet_genesis.benchmark.statistics.comparison import Arm, score_arms
from nnunet_genesis.benchmark.statistics.metric_table import MEAN_OF_CLASSES, build_tables
from nnunet_genesis.errors import DataError
from tests.benchmark.test_run_folder import SETTINGS
from tests.preprocessed import tiny_plans

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

RUN = Run(RunKey(SCRATCH, 5, "standard", 0), 0, "nnUNetTrainerGenesis_scratch")
SPACING = (3.0, 1.0, 0.5)  # z, y, x
REGIONS: dict[str, object] = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
LABELS: dict[str, object] = {"tumour": 2, "background": 0, "liver": 1}


def write_segmentation(array: npt.NDArray[np.uint8], file: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(file))


def evaluate(dataset: Path, validation: Path, manager: LabelManager) -> None:
    """As nnU-Net's ``compute_metrics_on_folder``, without its pool of processes."""
    results = [
        compute_metrics(
            str(dataset / "gt_segmentations" / file.name),
            str(file),
            SimpleITKIO(),
            manager.foreground_regions if manager.has_regions else manager.foreground_labels,
            manager.ignore_label,
        )
        for file in sorted(validation.glob("*.nii.gz"))
    ]
    for result in results:
        recursive_fix_for_json_export(result)
    save_summary_json({"metric_per_case": results, "mean": {}}, str(validation / "summary.json"))


def make_run(root: Path, labels: dict[str, object], **extra: object) -> tuple[Record, RunFolder, Path]:
    """What nnU-Net leaves of a training on two test cases, ``a.1`` and ``b``."""
    dataset, files = root / "preprocessed", RunFolder(root / "runs" / RUN.identifier)
    record = Record(
        replace(SETTINGS, test_cases=("a.1", "b"), groups={"a.1": "ann", "b": "ben"}, tolerances_mm={}),
        read_labels({"labels": labels}),
    )
    record.settings = replace(record.settings, tolerances_mm=dict.fromkeys(record.labels, 1.0))
    fold = fold_folder(RUN, record, files)
    validation = fold / "validation"
    for folder in (dataset / "gt_segmentations", validation):
        folder.mkdir(parents=True)
    description = {"labels": labels, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz", **extra}
    for folder in (dataset, fold.parent):
        (folder / "dataset.json").write_text(json.dumps(description))
    (dataset / "nnUNetPlans.json").write_text(json.dumps(tiny_plans((4, 8, 8), 1)))
    reference = np.zeros((12, 20, 24), np.uint8)
    reference[2:10, 4:16, 4:20] = 1
    reference[4:8, 6:12, 8:16] = 2
    if "ignore" in labels:
        reference[:, :, 22:] = 3
    prediction = np.where(reference == 3, 0, reference).astype(np.uint8)
    prediction[2] = 0
    prediction[:, 5, 22:] = 1  # where it is ignored, if anything is
    write_segmentation(reference, dataset / "gt_segmentations" / "a.1.nii.gz")
    write_segmentation(prediction, validation / "a.1.nii.gz")
    small = np.where(reference == 1, 1, 0).astype(np.uint8)  # without the second label
    write_segmentation(small, dataset / "gt_segmentations" / "b.nii.gz")
    write_segmentation(np.zeros_like(small), validation / "b.nii.gz")
    evaluate(dataset, validation, LabelManager(dict(labels), extra.get("regions_class_order")))
    logged = {
        "mean_fg_dice": [0.25, 0.5],
        "dice_per_class_or_region": [[0.1, 0.4], [np.float32(0.5), float("nan")]],
        "epoch_start_timestamps": [0.0, 10.0],
        "epoch_end_timestamps": [8.0, 20.0],
    }
    torch.save({"logging": logged}, fold / "checkpoint_final.pth")
    torch.save({}, fold / "checkpoint_best.pth")
    return record, files, dataset


@pytest.mark.parametrize(("labels", "order"), [(REGIONS, [1, 2]), (LABELS, None)])
def test_classes_are_in_nnunets_order(labels: dict[str, object], order: list[int] | None) -> None:
    manager = LabelManager(dict(labels), order)
    nnunets = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    ours = read_labels({"labels": labels})
    assert [tuple(values) for values in ours.values()] == [
        tuple(one) if isinstance(one, tuple) else (one,) for one in nnunets
    ]
    assert list(ours) == (["whole", "core"] if manager.has_regions else ["liver", "tumour"])


def test_scores_of_regions_leave_out_what_is_ignored(tmp_path: Path) -> None:
    record, files, dataset = make_run(tmp_path, REGIONS, regions_class_order=[1, 2])
    assert is_predicted(RUN, record, files)
    told = score_run(RUN, record, files, dataset)
    assert files.state() is State.FINISHED
    assert told["seconds_per_epoch"] == 9.0
    scores = {(score.case, score.label, score.metric): score for score in read_case_scores(files.scores_file)}
    assert len(scores) == 2 * 2 * 3
    assert {score.group for score in scores.values()} == {"ann", "ben"}
    # One of eight slices is missing; the wrong voxels lie where nothing is counted.
    assert scores["a.1", "whole", "dice"].value == pytest.approx(2 * 7 / (7 + 8))
    assert scores["a.1", "core", "dice"].value == 1
    assert scores["a.1", "core", "nsd"].value == 1
    assert scores["a.1", "core", "hd95"].value == 0
    assert scores["a.1", "whole", "hd95"].value == 3  # mm, the distance of slices
    # Missed: the worst that could be. Absent on both sides: not defined.
    assert (scores["b", "whole", "dice"].value, scores["b", "whole", "nsd"].value) == (0, 0)
    assert scores["b", "whole", "hd95"].value == pytest.approx(math.hypot(12 * 3, 20, 24 * 0.5))
    assert all(math.isnan(scores["b", "core", metric].value) for metric in ("dice", "nsd", "hd95"))
    assert {place[:2] for place, score in scores.items() if not score.in_reference} == {("b", "core")}


def test_a_class_that_only_the_prediction_has_is_not_in_the_reference(tmp_path: Path) -> None:
    record, files, dataset = make_run(tmp_path, REGIONS, regions_class_order=[1, 2])
    validation = fold_folder(RUN, record, files) / "validation"
    write_segmentation(np.full((12, 20, 24), 2, np.uint8), validation / "b.nii.gz")
    evaluate(dataset, validation, LabelManager(dict(REGIONS), [1, 2]))
    score_run(RUN, record, files, dataset)
    core = [score for score in read_case_scores(files.scores_file) if (score.case, score.label) == ("b", "core")]
    assert [(score.metric, score.value, score.in_reference) for score in core][:2] == [
        ("dice", 0, False),
        ("nsd", 0, False),
    ]


def test_labels_out_of_order_keep_their_values(tmp_path: Path) -> None:
    record, files, dataset = make_run(tmp_path, LABELS)
    score_run(RUN, record, files, dataset)
    scores = {(score.case, score.label, score.metric): score.value for score in read_case_scores(files.scores_file)}
    assert scores["a.1", "tumour", "dice"] == 1
    assert 0 < scores["a.1", "liver", "dice"] < 1
    epochs = {(score.epoch, score.label): score.pseudo_dice for score in read_epoch_scores(files.epochs_file)}
    assert (epochs[0, ""], epochs[0, "liver"], epochs[0, "tumour"]) == (0.25, 0.1, 0.4)
    assert epochs[1, "liver"] == 0.5
    assert math.isnan(epochs[1, "tumour"])


def test_a_case_that_was_not_predicted_is_no_score(tmp_path: Path) -> None:
    record, files, dataset = make_run(tmp_path, LABELS)
    record.settings = replace(record.settings, test_cases=("a.1", "b", "c"), groups={"a.1": "x", "b": "y", "c": "z"})
    assert not is_predicted(RUN, record, files)
    with pytest.raises(DataError, match=r"1 test case\(s\) were not predicted, the first is c"):
        score_run(RUN, record, files, dataset)
    assert not files.scores_file.exists()


def test_last_weights_that_cannot_be_read_are_told_with_what_mends_it(tmp_path: Path) -> None:
    record, files, dataset = make_run(tmp_path, LABELS)
    file = fold_folder(RUN, record, files) / "checkpoint_final.pth"
    content = file.read_bytes()
    start = content.index(b"logging")
    file.write_bytes(content[: start - 40] + bytes(80) + content[start + 40 :])  # the archive is whole, its pickle not
    with pytest.raises(DataError, match="the last weights cannot be read") as raised:
        score_run(RUN, record, files, dataset)
    assert "--retry-failed" in str(raised.value)


def test_the_mean_dice_on_the_screen_is_that_of_the_report(tmp_path: Path) -> None:
    record, files, dataset = make_run(tmp_path, REGIONS, regions_class_order=[1, 2])
    validation = fold_folder(RUN, record, files) / "validation"
    write_segmentation(np.full((12, 20, 24), 2, np.uint8), validation / "b.nii.gz")  # the core, which b does not have
    shutil.copy(dataset / "gt_segmentations" / "a.1.nii.gz", dataset / "gt_segmentations" / "a.2.nii.gz")
    shutil.copy(dataset / "gt_segmentations" / "a.1.nii.gz", validation / "a.2.nii.gz")
    groups = {"a.1": "ann", "a.2": "ann", "b": "ben"}
    record.settings = replace(record.settings, test_cases=tuple(groups), groups=groups)
    evaluate(dataset, validation, LabelManager(dict(REGIONS), [1, 2]))
    told = score_run(RUN, record, files, dataset)
    scores = read_case_scores(files.scores_file)
    dice = {(score.case, score.label): score.value for score in scores if score.metric == "dice"}
    assert dice["b", "core"] == 0
    ann = (dice["a.1", "whole"] + dice["a.1", "core"] + dice["a.2", "whole"] + dice["a.2", "core"]) / 4
    assert told["mean_dice"] == round((ann + dice["b", "whole"]) / 2, 4)
    table = build_tables(scores)["dice", MEAN_OF_CLASSES]
    assert told["mean_dice"] == pytest.approx(score_arms(table)[Arm(SCRATCH, 5, "standard")].mean, abs=1e-4)


@pytest.mark.parametrize(("keep", "left"), [("final", ["checkpoint_final.pth"]), ("no", [])])
def test_room_is_made(tmp_path: Path, keep: str, left: list[str]) -> None:
    _, files, _ = make_run(tmp_path, LABELS)
    remove_checkpoints(files, keep)
    assert [file.name for file in files.checkpoints()] == left
    assert len(list(files.results.glob("*/*/fold_0/validation/*.nii.gz"))) == 2
