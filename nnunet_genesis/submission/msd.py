"""``--format msd``: the archive that the Medical Segmentation Decathlon takes.

One folder per task, named as the task, with a prediction for each image of its ``imagesTs``, named as the image:
``Task03_Liver/liver_1.nii.gz`` (Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13, 2022).
"""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.checkpoint import sha256_of_file
from nnunet_genesis.errors import SetupError
from nnunet_genesis.submission.archive import refuse_existing, write_archive
from nnunet_genesis.submission.checks import check_predictions
from nnunet_genesis.submission.geometry import TOLERANCES
from nnunet_genesis.submission.images import find_test_images
from nnunet_genesis.submission.label_maps import find_label_map, rewrite_labels
from nnunet_genesis.submission.labels import read_labels
from nnunet_genesis.submission.models import Choice, TrainedModel, choose_models
from nnunet_genesis.submission.picture import draw_contact_sheet
from nnunet_genesis.submission.postprocessing import POSTPROCESS_AS_FOUND, Postprocessing, choose_postprocessing
from nnunet_genesis.submission.prediction import Machine, describe_inputs, plan_steps, run_steps
from nnunet_genesis.submission.provenance import FILE_NAME, describe_model, seen_test_cases, write_submission_json
from nnunet_genesis.submission.same_dataset import find_differences, refuse_other_dataset
from nnunet_genesis.submission.tasks import task_name
from nnunet_genesis.submission.volumes import FLAT_ENDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nnunet_genesis.submission.images import TestImages

PREDICTIONS_FOLDER = "predictions"


@dataclass(frozen=True)
class MsdOptions:
    """What an archive is made of.

    Attributes:
        dataset: Name or id of the raw dataset.
        output: Folder to write into.
        choice: Which models predict.
        machine: Where they predict.
        predictions: Folder of predictions that exist; then nothing is predicted.
        postprocessing: Which postprocessing follows.
        task: Name of the folder in the archive; None derives it.
        task_json: The challenge's own ``dataset.json``; labels are mapped by their names.
        label_map: ``PREDICTED=CHALLENGE`` pairs.
        archive: "zip" or "tar".
    """

    dataset: str
    output: Path
    choice: Choice
    machine: Machine
    predictions: Path | None = None
    postprocessing: Postprocessing = POSTPROCESS_AS_FOUND
    task: str | None = None
    task_json: Path | None = None
    label_map: tuple[str, ...] = ()
    archive: str = "zip"


def submit_msd(options: MsdOptions, say: Callable[[str], None]) -> list[Path]:
    """Predict, check, and write the archive, a contact sheet and the provenance.

    Args:
        options: What to make.
        say: Prints a line.

    Returns:
        The files that were written.

    Raises:
        GenesisError: If anything is missing or wrong; then there is no archive.
    """
    images = find_test_images(options.dataset, read_by_nnunet=options.predictions is None)
    task = task_name(images.dataset_name, options.task)
    label_map = find_label_map(images, options.label_map, options.task_json)
    merged = len(set(label_map.values())) < len(label_map)
    file, picture = options.output / f"{task}.{options.archive}", options.output / f"{task}.png"
    for target in (file, picture, options.output / FILE_NAME):
        refuse_existing(target)
    if images.ending.endswith(FLAT_ENDINGS):
        say(f"WARNING: the Decathlon takes .nii.gz; the archive will hold {images.ending}, as the dataset has it")
    if merged:
        say("WARNING: the label map makes one label of several")
    if any(predicted != wanted for predicted, wanted in label_map.items()) and images.ending.endswith(FLAT_ENDINGS):
        raise SetupError(
            f"labels of {images.ending} files are not rewritten here",
            where=images.folder,
            mend=f"leave --label-map and --task-json out, and map the labels in a copy of the predictions: {task}/CASE"
            f"{images.ending} is how the archive holds them",
        )
    folder, origin = _find_predictions(options, images, say)
    labels = read_labels(images.dataset_json)
    remarks = check_predictions(folder, images, labels, show_progress=True)
    empty = remarks.background_alone
    if remarks.on_sform:
        say(
            f"WARNING: qform and sform of {len(remarks.on_sform)} of {len(images.cases)} images differ, the first is"
            f" {remarks.on_sform[0]}: their predictions are on the grid of the sform, which SimpleITK does not read"
        )
    if empty:
        say(f"WARNING: {len(empty)} of {len(images.cases)} predictions hold background alone: {', '.join(empty)}")
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output, prefix=".mapped.") as mapped:
        entries = _entries(folder, images, label_map, Path(mapped))
        # Pictures first: where one fails there is no archive yet, and the next attempt finds nothing in its way.
        draw_contact_sheet(picture, folder, images, labels, f"{task}: {len(images.cases)} prediction(s)")
        try:
            write_archive(file, {f"{task}/{name}": source.read_bytes for name, source in entries.items()})
        except BaseException:
            picture.unlink()
            raise
        cases = {name: {"sha256": sha256_of_file(source)} for name, source in sorted(entries.items())}
    say(f"{len(entries)} predictions checked and archived in {task}/")
    told = {
        "format": "msd",
        "dataset": images.dataset_name,
        "task": task,
        "archive": {"name": file.name, "sha256": sha256_of_file(file)},
        "label_map": {str(key): value for key, value in label_map.items()},
        "cases": cases,
        "background_alone": empty,
        "qform_and_sform_differ": remarks.on_sform,
        "predictions": str(folder),
        **origin,
        "tolerances": TOLERANCES,
    }
    return [file, picture, write_submission_json(options.output, told)]


def _find_predictions(
    options: MsdOptions, images: TestImages, say: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """Folder of the predictions, made where there are none, and where they come from."""
    given = options.predictions
    if given is not None and options.postprocessing.file is not None:
        raise SetupError(
            "--predictions takes them as they are, and --postprocessing is for those that are made here",
            mend=f"nnUNetv2_apply_postprocessing -i {shlex.quote(str(given))} -o POSTPROCESSED -pp_pkl_file"
            f" {shlex.quote(str(options.postprocessing.file))}, then --predictions POSTPROCESSED",
        )
    if given is not None and not given.is_dir():
        raise SetupError("--predictions: no such folder", where=given, mend="check the path, or leave it out")
    models: tuple[TrainedModel, ...] = ()
    if given is None or options.choice.says_something:
        models = choose_models(images.dataset_name, options.choice)
    if given is None:
        refuse_other_dataset(models, images)
    else:
        for model in models:
            for line in find_differences(model, images):
                say(f"WARNING: {model.folder}: its dataset.json is not that of the raw dataset: {line}")
    told = [describe_model(model) for model in models]
    seen = seen_test_cases(told)
    if seen:
        say(
            f"WARNING: pretraining saw {len(seen)} of the test images, the first is {seen[0]}: say so where you submit,"
            " and see whether the challenge allows it"
        )
    origin: dict[str, Any] = {
        "models": told,
        "models_are": "those that predicted" if given is None else "what the user says, not checked",
        "test_cases_seen_in_pretraining": seen,
        "postprocessing": None,
        "commands": [],
    }
    if given is not None:
        return given, origin
    postprocessing = choose_postprocessing(options.postprocessing, models)
    say(f"postprocessing: {postprocessing or 'none (nnUNetv2_find_best_configuration determines one)'}")
    if postprocessing is not None:
        origin["postprocessing"] = {"file": str(postprocessing), "sha256": sha256_of_file(postprocessing)}
    work = options.output / PREDICTIONS_FOLDER
    steps = plan_steps(images.folder, models, postprocessing, work, options.machine)
    origin["commands"] = [step.line() for step in steps]
    made_by = describe_inputs(images, models, postprocessing)
    return run_steps(work, steps, images, read_labels(images.dataset_json), made_by=made_by, say=say), origin


def _entries(folder: Path, images: TestImages, label_map: Mapping[int, int], mapped: Path) -> dict[str, Path]:
    """Name in the task's folder to the file: the prediction itself, or a copy with the challenge's labels."""
    names = [f"{case}{images.ending}" for case in images.cases]
    if all(predicted == wanted for predicted, wanted in label_map.items()) and images.ending in _AS_THEY_ARE:
        return {name: folder / name for name in names}
    entries = {}
    for case, name in zip(images.cases, names, strict=True):
        target = mapped / images.archived_name(case)
        rewrite_labels(folder / name, target, label_map)
        entries[target.name] = target
    return entries


_AS_THEY_ARE = (".nii.gz", *FLAT_ENDINGS)
"""Endings of files that are archived byte by byte; others become ``.nii.gz``."""
