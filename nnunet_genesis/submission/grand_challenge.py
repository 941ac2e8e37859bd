"""``--format grand-challenge``: a container that predicts one image, without a network and without this package."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis._discovery import is_genesis_name
from nnunet_genesis.errors import SetupError
from nnunet_genesis.export import STOCK_TRAINER, copy_for_prediction
from nnunet_genesis.folders import refuse_used_folder
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.submission.container_example import write_example
from nnunet_genesis.submission.images import find_example
from nnunet_genesis.submission.labels import read_labels
from nnunet_genesis.submission.models import Choice, TrainedModel, choose_models
from nnunet_genesis.submission.postprocessing import FILE_NAME as POSTPROCESSING_NAME
from nnunet_genesis.submission.postprocessing import POSTPROCESS_AS_FOUND, Postprocessing, choose_postprocessing
from nnunet_genesis.submission.provenance import describe_model, write_submission_json
from nnunet_genesis.submission.requirements import installed_from_elsewhere, is_part_of, pin_requirements
from nnunet_genesis.submission.same_dataset import refuse_other_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnunet_genesis.submission.images import TestImages

_SOCKET_PATH = re.compile(r"images(/[\w.-]*\w)+")
_SCRIPTS = ("predict.py", "check_output.py")
_TEMPLATES = {
    "Dockerfile.in": "Dockerfile",
    "dockerignore.in": ".dockerignore",
    "test_run.sh.in": "test_run.sh",
    "save.sh.in": "save.sh",
}


@dataclass(frozen=True)
class ContainerOptions:
    """What a container is made of.

    Attributes:
        dataset: Name or id of the raw dataset.
        output: New folder.
        choice: Which models predict.
        input_paths: Where the platform puts the challenge's inputs, e.g. ``images/ct``: one per channel, in the order
            of the channels.
        output_path: Where it takes the output from, e.g. ``images/liver``.
        postprocessing: Which postprocessing follows.
        example: Case that the test script predicts; None takes the first of imagesTs, else of imagesTr.
    """

    dataset: str
    output: Path
    choice: Choice
    input_paths: tuple[str, ...]
    output_path: str
    postprocessing: Postprocessing = POSTPROCESS_AS_FOUND
    example: str | None = None


def write_container(options: ContainerOptions, say: Callable[[str], None]) -> list[Path]:
    """Write the folder that ``docker build`` takes, with a script that builds and tries it.

    Args:
        options: What to make.
        say: Prints a line.

    Returns:
        The files that a user looks at or runs.

    Raises:
        GenesisError: If anything is missing or does not fit; then there is no folder.
    """
    images = find_example(options.dataset, options.example)
    example = next(iter(images.cases))
    inputs, output = _socket_paths(options, images)
    models = choose_models(images.dataset_name, options.choice)
    refuse_other_dataset(models, images)
    trainers = {model.folder: _trainer_in_container(model) for top in models for model in top.stages()}
    postprocessing = choose_postprocessing(options.postprocessing, models)
    refuse_used_folder(options.output, "the container")
    say(f"postprocessing: {postprocessing or 'none (nnUNetv2_find_best_configuration determines one)'}")
    requirements = pin_requirements("nnunetv2")
    others = installed_from_elsewhere(requirements)
    if others:
        say(
            "WARNING: not from the package index, which requirements.txt names: "
            + ", ".join(others)
            + "; put their addresses into requirements.txt if the container needs them as they are here"
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output.parent, prefix=f".{options.output.name}.") as temporary:
        folder = Path(temporary) / "context"
        app = folder / "app"
        app.mkdir(parents=True)
        config = {"inputs": inputs, "output": output, **_describe_models(images, models)}
        write_example(folder / "test" / "input", images.cases[example], inputs, config["image_reader_writer"])
        for number, model in enumerate(config["models"]):
            source = Path(model.pop("source"))
            checkpoints = [source / f"fold_{fold}" / model["checkpoint"] for fold in model["folds"]]
            trainer = trainers[source]
            model["folder"] = f"model_{number}/{trainer}__{source.name.partition('__')[2]}"
            copy_for_prediction(checkpoints, app / "models" / model["folder"], trainer)
        if postprocessing is not None:
            config["postprocessing"] = POSTPROCESSING_NAME
            shutil.copyfile(postprocessing, app / POSTPROCESSING_NAME)
        (app / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        _write_scripts(folder, _image_name(images.dataset_name), requirements)
        told = {
            "format": "grand-challenge",
            "dataset": images.dataset_name,
            "config": config,
            "models": [describe_model(model) for model in models],
            "postprocessing": None if postprocessing is None else str(postprocessing),
            "example": example,
        }
        write_submission_json(folder, told)
        if options.output.is_dir():
            options.output.rmdir()  # empty, see above
        folder.rename(options.output)
    say(
        f"to build and try it: {shlex.quote(str(options.output / 'test_run.sh'))}"
        "   (needs docker; the image was not built)"
    )
    say(
        f"to try it without docker: python {shlex.quote(str(options.output / 'app' / 'predict.py'))} --input"
        f" {shlex.quote(str(options.output / 'test' / 'input'))} --output OUT"
    )
    return [options.output / name for name in ("Dockerfile", "requirements.txt", "test_run.sh", "save.sh")]


def _socket_paths(options: ContainerOptions, images: TestImages) -> tuple[list[str], str]:
    channels = read_channel_names(images.dataset_json)
    names = [str(channels[key]) for key in sorted(channels, key=int)]
    if all(len(files) == 1 for files in images.cases.values()):
        names = [" ".join(names)]  # colours are in one file
    if len(options.input_paths) != len(names):
        raise SetupError(
            f"{len(options.input_paths)} --input-path, and the dataset has {len(names)} channel(s): {', '.join(names)}",
            mend="name the paths of the challenge's sockets in the order of the channels, for example "
            + " ".join(f"--input-path images/{_as_slug(name)}" for name in names),
        )
    inputs = [_socket_path(path, "--input-path") for path in options.input_paths]
    if len(set(inputs)) < len(inputs):
        raise SetupError("two channels have the same --input-path", mend="name one socket per channel")
    return inputs, _socket_path(options.output_path, "--output-path")


def _socket_path(text: str, flag: str) -> str:
    """The path of a socket, also where it was copied with the folder before and the name of a file behind it."""
    path = re.sub(r"^(\./|/)?((input|output)/)?", "", text.strip()).rstrip("/")
    path = re.sub(r"/[^/]*([<>*{}\[\]][^/]*|\.(mha|tiff?))$", "", path, flags=re.IGNORECASE)
    if not _SOCKET_PATH.fullmatch(path):
        raise SetupError(
            f"{flag} {text}: no path of a socket for images on grand-challenge.org",
            mend=f"{flag} images/{_as_slug(text.removeprefix('images/'))}, if that is what the challenge's page for"
            " submissions shows: a socket's path is not always its slug (that of ct-image is images/ct)",
        )
    return path


def _as_slug(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", name.lower())) or "image"


def _image_name(dataset_name: str) -> str:
    return f"nnunet-{_as_slug(dataset_name)}"


def _trainer_in_container(model: TrainedModel) -> str:
    """The trainer that nnU-Net alone finds: ours become its own, whose network and prediction they share."""
    trainer = model.name.partition("__")[0]
    if is_genesis_name(trainer):
        return STOCK_TRAINER
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = Path(nnunetv2.__path__[0]) / "training" / "nnUNetTrainer"
    found = recursive_find_python_class(str(folder), trainer, "nnunetv2.training.nnUNetTrainer")
    if found is None or not found.__module__.startswith("nnunetv2.") or not is_part_of("nnunetv2", found):
        raise SetupError(
            f"the trainer {trainer} is neither nnU-Net's nor ours: the container would not know it",
            where=model.folder,
            mend="use a model of nnUNetTrainer or nnUNetTrainerGenesis",
        )
    return trainer


def _describe_models(images: TestImages, models: Sequence[TrainedModel]) -> dict[str, Any]:
    members = [model.folder for model in models]
    stages: list[TrainedModel] = []
    for stage in (stage for model in models for stage in model.stages()):
        if stage.folder not in [other.folder for other in stages]:
            stages.append(stage)
    places = {stage.folder: number for number, stage in enumerate(stages)}
    return {
        "file_ending": images.ending,
        "image_reader_writer": read_json(models[0].folder / "plans.json").get("image_reader_writer"),
        "labels": sorted(read_labels(images.dataset_json)),
        "models": [
            {
                "source": str(stage.folder),
                "folds": list(stage.folds),
                "checkpoint": stage.checkpoint_name,
                "previous_stage": None if stage.previous is None else places[stage.previous.folder],
                "averaged": stage.folder in members,
            }
            for stage in stages
        ],
        "postprocessing": None,
    }


def _write_scripts(folder: Path, image_name: str, requirements: Sequence[str]) -> None:
    source = resources.files("nnunet_genesis.submission.container")
    values = {"@IMAGE@": image_name, "@PYTHON@": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in _SCRIPTS:
        _write_text(folder / "app" / name, (source / name).read_text(encoding="utf-8"))
    for name, target in _TEMPLATES.items():
        text = (source / name).read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(key, value)
        _write_text(folder / target, text)
        if target.endswith(".sh"):
            (folder / target).chmod(0o755)
    _write_text(folder / "requirements.txt", "\n".join(requirements) + "\n")


def _write_text(file: Path, text: str) -> None:
    """Linux runs it, wherever it is written."""
    file.write_text(text, encoding="utf-8", newline="\n")
