"""Predict the test images by nnU-Net's own commands, printed as one would type them."""

from __future__ import annotations

import logging
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_genesis.checkpoint import sha256_of_file
from nnunet_genesis.errors import DataError, GenesisError, SetupError
from nnunet_genesis.executables import find_executable
from nnunet_genesis.files import write_json
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.submission.checks import Verdict, check_prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from nnunet_genesis.submission.images import TestImages
    from nnunet_genesis.submission.models import TrainedModel

LOGGER = logging.getLogger("nnunet_genesis")
MADE_BY = "made_by.json"


@dataclass(frozen=True)
class Machine:
    """Where to predict.

    Attributes:
        device: nnU-Net's name of the device.
        preprocessing_processes: ``-npp``.
        export_processes: ``-nps``.
    """

    device: str
    preprocessing_processes: int = 3
    export_processes: int = 3


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        words: The command line.
        output: Folder that it writes predictions into.
        keeps_probabilities: Whether it also writes ``CASE.npz`` and ``CASE.pkl``, before the prediction.
        continues: Whether the command leaves predictions alone that are there.
    """

    words: tuple[str, ...]
    output: Path
    keeps_probabilities: bool = False
    continues: bool = False

    def line(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.words)


def plan_steps(
    images: Path, models: Sequence[TrainedModel], postprocessing: Path | None, folder: Path, machine: Machine
) -> list[Step]:
    """List the commands that lead from images to predictions, which the last one writes.

    Args:
        images: Folder of the images.
        models: Several are an ensemble: their probabilities are averaged.
        postprocessing: ``postprocessing.pkl``, or None.
        folder: Gets one folder per command.
        machine: Where to predict.
    """
    steps: list[Step] = []
    outputs: dict[Path, Path] = {}
    members = [model.folder for model in models] if len(models) > 1 else []
    for stage in (stage for model in models for stage in model.stages()):
        if stage.folder in outputs:
            continue
        taken = [output.name for output in outputs.values()].count(stage.name)
        output = folder / str(len(outputs) + 1) / stage.name if taken else folder / stage.name
        previous = outputs[stage.previous.folder] if stage.previous else None
        steps.append(_predict(images, stage, previous, output, machine, averaged=stage.folder in members))
        outputs[stage.folder] = output
    if len(models) > 1:
        processes = ("-np", str(machine.export_processes))
        output = folder / "ensemble"
        inputs = (str(outputs[member]) for member in members)
        steps.append(Step(("nnUNetv2_ensemble", "-i", *inputs, "-o", str(output), *processes), output))
    if postprocessing is not None:
        plans = ("-plans_json", str(models[0].folder / "plans.json"))
        dataset = ("-dataset_json", str(models[0].folder / "dataset.json"))
        output = folder / "postprocessed"
        words = (
            "nnUNetv2_apply_postprocessing", "-i", str(steps[-1].output), "-o", str(output), "-pp_pkl_file",
            str(postprocessing), "-np", str(machine.export_processes), *plans, *dataset,
        )  # fmt: skip
        steps.append(Step(words, output))
    return steps


def run_steps(
    folder: Path,
    steps: Sequence[Step],
    images: TestImages,
    labels: Mapping[int, str],
    *,
    made_by: Mapping[str, Any],
    say: Callable[[str], None],
) -> Path:
    """Run what is not done yet; a prediction that is there and whole is not made again.

    Args:
        folder: Where the steps write into.
        steps: From `plan_steps`.
        images: What is predicted.
        labels: Values that a prediction may hold.
        made_by: What the predictions depend on, plain values; kept beside them.
        say: Prints a line.

    Returns:
        Folder of the predictions.

    Raises:
        SetupError: If the folder holds predictions of other models or images.
        DataError: If a prediction is whole, but not sound.
        GenesisError: If a command fails.
    """
    _check_made_by(folder, made_by)
    changed = False
    for step in steps:
        missing = _clear(step, images, labels, all_of_them=changed)
        if not missing:
            say(f"{step.output}: all {len(images.cases)} predictions are there")
            continue
        changed = True
        say(f"$ {step.line()}")
        status = subprocess.run([find_executable(step.words[0]), *step.words[1:]], check=False).returncode
        if status != 0:
            raise GenesisError(
                f"this command ended with exit status {status}; what it said is above:\n    {step.line()}",
                where=step.output,
                mend="mend the cause and run the same command again: predictions that are whole are kept",
            )
    return steps[-1].output


def describe_inputs(
    images: TestImages, models: Sequence[TrainedModel], postprocessing: Path | None
) -> dict[str, dict[str, str]]:
    """What predictions depend on: SHA-256 of all images, checkpoints, plans, and of the postprocessing."""
    stages = [stage for model in models for stage in model.stages()]
    models_files = [
        file
        for stage in stages
        for file in (*stage.checkpoints, stage.folder / "plans.json", stage.folder / "dataset.json")
    ]
    return {
        "images": {file.name: sha256_of_file(file) for files in images.cases.values() for file in files},
        "models": {str(file): sha256_of_file(file) for file in models_files},
        "postprocessing": {} if postprocessing is None else {str(postprocessing): sha256_of_file(postprocessing)},
    }


def _predict(
    images: Path, model: TrainedModel, previous: Path | None, output: Path, machine: Machine, *, averaged: bool
) -> Step:
    words = [
        "nnUNetv2_predict_from_modelfolder", "-i", str(images), "-o", str(output), "-m", str(model.folder),
        "-f", *model.folds, "-chk", model.checkpoint_name, "-device", machine.device,
        "-npp", str(machine.preprocessing_processes), "-nps", str(machine.export_processes), "--continue_prediction",
    ]  # fmt: skip
    if previous is not None:
        words += ["-prev_stage_predictions", str(previous)]
    if averaged:
        words.append("--save_probabilities")
    return Step(tuple(words), output, keeps_probabilities=averaged, continues=True)


def _check_made_by(folder: Path, made_by: Mapping[str, Any]) -> None:
    file = folder / MADE_BY
    try:
        before = read_json(file) if file.exists() else None
    except ValueError:
        before = {}
    if not isinstance(before, (dict, type(None))):
        before = {}
    if before is None and folder.is_dir() and any(folder.iterdir()):
        before = {}
    if before is not None and before != made_by:
        changed = [name for name in made_by if before.get(name) != made_by[name]]
        raise SetupError(
            f"the folder holds predictions of another submission; what differs: {', '.join(changed)}",
            where=folder,
            mend="name another folder with --output, or delete this one",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(made_by, file, indent=2)


def _clear(step: Step, images: TestImages, labels: Mapping[int, str], *, all_of_them: bool) -> list[str]:
    """Remove predictions of an earlier, interrupted run that are not whole; return the cases that are missing.

    nnU-Net keeps a file that is there, even if it is half of one. What is whole, but not sound, would be predicted in
    the same way again: it stays, and its cause is to be found.
    """
    step.output.mkdir(parents=True, exist_ok=True)
    missing, parts_of, unsound = [], {}, []
    for case, files in images.cases.items():
        prediction = step.output / f"{case}{images.ending}"
        parts = [step.output / f"{case}{suffix}" for suffix in (".npz", ".pkl")] if step.keeps_probabilities else []
        whole = prediction.exists() and all(part.exists() for part in parts)
        verdict = (
            check_prediction(prediction, files[0], labels) if whole else Verdict(["incomplete"], is_unreadable=True)
        )
        made_anew = all_of_them and not step.continues
        if not verdict.problems and not made_anew:
            continue
        if not verdict.is_unreadable and not made_anew:
            unsound += [f"{case}: {problem}" for problem in verdict.problems]
            continue
        missing.append(case)
        parts_of[case] = (prediction, *parts)
        if prediction.exists() and verdict.problems:
            LOGGER.warning("%s: %s; it is predicted again", prediction, "; ".join(verdict.problems))
    if unsound:
        raise DataError(
            f"{len(unsound)} problem(s) with predictions that are whole; nothing was removed or predicted:\n"
            + "\n".join(f"    {problem}" for problem in unsound),
            where=step.output,
            mend="mend the cause (the images, dataset.json, or the model that is meant), then delete these predictions"
            " and run the same command again",
        )
    for made in parts_of.values():
        for file in made:
            file.unlink(missing_ok=True)
    return missing
