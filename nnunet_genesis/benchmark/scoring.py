"""Scores of a training: Dice from nnU-Net's evaluation, surfaces from the files that it wrote, epochs of its log."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnunet_genesis.benchmark.run_folder import EVALUATION
from nnunet_genesis.benchmark.scores import CaseScore, EpochScore, write_case_scores, write_epoch_scores
from nnunet_genesis.benchmark.statistics.comparison import score_arms
from nnunet_genesis.benchmark.statistics.metric_table import DICE, build_tables
from nnunet_genesis.benchmark.surface_metrics import compare_surfaces
from nnunet_genesis.errors import DataError
from nnunet_genesis.nnunet_folders import FINAL_CHECKPOINT
from nnunet_genesis.plans_files import read_dataset_json
from nnunet_genesis.upstream import check_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.run_folder import RunFolder
    from nnunet_genesis.benchmark.runs import Run

NSD, HD95 = "nsd", "hd95"


def read_labels(dataset_json: Mapping[str, Any]) -> dict[str, list[int]]:
    """Name of every class, or region of several, to its values in a segmentation, in nnU-Net's order of classes.

    Background and what is ignored are left out.
    """
    labels = {
        str(name): sorted(map(int, value)) if isinstance(value, (list, tuple)) else [int(value)]
        for name, value in dataset_json["labels"].items()
        if name != "ignore"
    }
    foreground = {name: values for name, values in labels.items() if set(values) != {0}}
    if any(len(values) > 1 for values in foreground.values()):
        return foreground
    return dict(sorted(foreground.items(), key=lambda entry: entry[1]))


def is_predicted(run: Run, record: Record, run_folder: RunFolder) -> bool:
    """Whether nnU-Net has finished a training and predicted and evaluated all test cases."""
    fold = fold_folder(run, record, run_folder)
    if not (fold / FINAL_CHECKPOINT).is_file():
        return False
    try:
        return set(_read_evaluation(fold, record.labels)) == set(record.settings.test_cases)
    except (OSError, ValueError, KeyError):
        return False


def fold_folder(run: Run, record: Record, run_folder: RunFolder) -> Path:
    """Where nnU-Net puts the results of a training."""
    settings = record.settings
    model = f"{run.trainer}__{settings.plans}__{settings.configuration}"
    return run_folder.results / settings.dataset / model / f"fold_{run.fold}"


def score_run(run: Run, record: Record, run_folder: RunFolder, dataset_folder: Path) -> dict[str, Any]:
    """Write the tables of a training that nnU-Net has finished.

    Args:
        run: The training.
        record: Of the benchmark.
        run_folder: Of the training.
        dataset_folder: ``nnUNet_preprocessed/DATASET``, which holds the references.

    Returns:
        What to record: seconds per epoch.

    Raises:
        DataError: If a test case was not predicted, or nnU-Net's files cannot be read.
    """
    check_upstream("benchmark")
    fold = fold_folder(run, record, run_folder)
    try:
        evaluated = _read_evaluation(fold, record.labels)
        logged = _read_log(fold / FINAL_CHECKPOINT)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"what {run.identifier} has measured cannot be read ({type(error).__name__}: {error})", where=fold
        ) from error
    missing = sorted(set(record.settings.test_cases) - set(evaluated))
    if missing:
        raise DataError(f"{len(missing)} test case(s) were not predicted, the first is {missing[0]}", where=fold)
    scores: list[CaseScore] = []
    for case in record.settings.test_cases:
        group = record.settings.groups[case]
        values = [(label, DICE, one.dice) for label, one in evaluated[case].items()]
        values += _surface_values(case, fold / "validation", record, dataset_folder)
        scores += [
            CaseScore(run.key, case, group, label, metric, value, evaluated[case][label].in_reference)
            for label, metric, value in values
        ]
    write_epoch_scores(_epoch_scores(run, record, logged), run_folder.epochs_file)
    write_case_scores(scores, run_folder.scores_file)
    seconds = np.subtract(logged["epoch_end_timestamps"], logged["epoch_start_timestamps"])
    return {"seconds_per_epoch": round(float(np.median(seconds)), 3), "mean_dice": _mean_dice(scores)}


def remove_checkpoints(run_folder: RunFolder, keep: str) -> None:
    """Make room once a training is scored; predictions stay.

    Args:
        run_folder: Of the training.
        keep: ``final`` for the last weights, ``no`` for none.
    """
    for file in run_folder.checkpoints():
        if keep == "no" or file.name != FINAL_CHECKPOINT:
            file.unlink(missing_ok=True)


class _Evaluated(NamedTuple):
    """What nnU-Net found for one class of one case.

    Attributes:
        dice: NaN where neither segmentation has the class.
        in_reference: Whether the reference has it, in voxels that are not ignored.
    """

    dice: float
    in_reference: bool


def _read_evaluation(fold: Path, labels: Mapping[str, Sequence[int]]) -> dict[str, dict[str, _Evaluated]]:
    """What nnU-Net found for every class of every case."""
    from nnunetv2.evaluation.evaluate_predictions import load_summary_json

    ending = str(read_dataset_json(fold.parent / "dataset.json")["file_ending"])
    evaluated: dict[str, dict[str, _Evaluated]] = {}
    for entry in load_summary_json(str(fold / EVALUATION))["metric_per_case"]:
        metrics = {
            tuple(sorted(key)) if isinstance(key, tuple) else (key,): values for key, values in entry["metrics"].items()
        }
        case = Path(entry["prediction_file"]).name.removesuffix(ending)
        found = {label: metrics[tuple(values)] for label, values in labels.items()}
        evaluated[case] = {
            label: _Evaluated(float(one["Dice"]), float(one["n_ref"]) > 0) for label, one in found.items()
        }
    return evaluated


def _surface_values(
    case: str, predictions: Path, record: Record, dataset_folder: Path
) -> Iterator[tuple[str, str, float]]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    dataset_json = read_dataset_json(dataset_folder / "dataset.json")
    reader = PlansManager(str(dataset_folder / f"{record.settings.plans}.json")).image_reader_writer_class()
    file = f"{case}{dataset_json['file_ending']}"
    predicted, properties = reader.read_seg(str(predictions / file))
    reference, _ = reader.read_seg(str(dataset_folder / "gt_segmentations" / file))
    ignored = dataset_json["labels"].get("ignore")
    counted = np.ones(reference.shape, bool) if ignored is None else reference != ignored
    spacing = [float(mm) for mm in properties["spacing"]]
    for label, values in record.labels.items():
        scores = compare_surfaces(
            _mask(predicted, values, counted),
            _mask(reference, values, counted),
            spacing,
            record.settings.tolerances_mm[label],
        )
        yield label, NSD, scores.nsd
        yield label, HD95, scores.hd95


def _mask(
    segmentation: npt.NDArray[Any], values: Sequence[int], counted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """(z, y, x) from nnU-Net's (1, z, y, x)."""
    mask: npt.NDArray[np.bool_] = (np.isin(segmentation, values) & counted)[0]
    return mask


def _read_log(checkpoint: Path) -> dict[str, list[Any]]:
    """What nnU-Net's logger kept in the checkpoint."""
    import torch

    try:
        # Written by the training that this process ran, as nnU-Net's own ``--c`` reads it.
        logged: dict[str, list[Any]] = torch.load(checkpoint, map_location="cpu", weights_only=False)["logging"]
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise DataError(
            f"the last weights cannot be read ({type(error).__name__}: {error})",
            where=checkpoint,
            mend="rename the file and run the command again with --retry-failed: the training goes on from an earlier"
            " checkpoint, or begins anew where there is none",
        ) from error
    return logged


def _epoch_scores(run: Run, record: Record, logged: Mapping[str, Sequence[Any]]) -> Iterator[EpochScore]:
    for epoch, values in enumerate(logged["dice_per_class_or_region"]):
        yield EpochScore(run.key, epoch, "", float(logged["mean_fg_dice"][epoch]))
        for label, value in zip(record.labels, values, strict=True):
            yield EpochScore(run.key, epoch, label, float(value))


def _mean_dice(scores: Sequence[CaseScore]) -> float | None:
    """As the report has it; None where no reference has a class."""
    tables = build_tables(score for score in scores if score.metric == DICE)
    of_all_classes = next(iter(tables.values()), None)  # a metric's mean comes first
    if of_all_classes is None:
        return None
    (found,) = score_arms(of_all_classes).values()
    return round(found.mean, 4)
