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

import SimpleITK as sitk

from nnunet_genesis._discovery import is_genesis_name
from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.export import STOCK_TRAINER, copy_for_prediction
from nnunet_genesis.folders import refuse_used_folder
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.submission.container.predict import VOLUMES_IN_TIFF, read_plain
from nnunet_genesis.submission.images import find_test_images
from nnunet_genesis.submission.labels import read_labels
from nnunet_genesis.submission.models import Choice, TrainedModel, choose_models
from nnunet_genesis.submission.postprocessing import FILE_NAME as POSTPROCESSING_NAME
from nnunet_genesis.submission.postprocessing import POSTPROCESS_AS_FOUND, Postprocessing, choose_postprocessing
from nnunet_genesis.submission.provenance import describe_model, write_submission_json
from nnunet_genesis.submission.requirements import pin_requirements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnunet_genesis.submission.images import TestImages

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
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
        input_slugs: Of the challenge's input sockets, one per channel, in the order of the channels.
        output_slug: Of the challenge's output socket.
        postprocessing: Which postprocessing follows.
        example: Case of imagesTs that the test script predicts; None takes the first.
    """

    dataset: str
    output: Path
    choice: Choice
    input_slugs: tuple[str, ...]
    output_slug: str
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
    images = find_test_images(options.dataset)
    _check_slugs(options, images)
    example = options.example or min(images.cases)
    if example not in images.cases:
        raise SetupError(
            f"--example {example}: no such case", where=images.folder, mend=f"--example {min(images.cases)}"
        )
    models = choose_models(images.dataset_name, options.choice)
    trainers = {model.folder: _trainer_in_container(model) for top in models for model in top.stages()}
    postprocessing = choose_postprocessing(options.postprocessing, models)
    refuse_used_folder(options.output, "the container")
    say(f"postprocessing: {postprocessing or 'none (nnUNetv2_find_best_configuration determines one)'}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output.parent, prefix=f".{options.output.name}.") as temporary:
        folder = Path(temporary) / "context"
        app = folder / "app"
        app.mkdir(parents=True)
        config = _config(options, images, models)
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
        _write_scripts(folder, _image_name(images.dataset_name))
        inputs = folder / "test" / "input" / "images"
        _write_example(inputs, images.cases[example], options.input_slugs, config["image_reader_writer"])
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


def _check_slugs(options: ContainerOptions, images: TestImages) -> None:
    channels = read_channel_names(images.dataset_json)
    names = [str(channels[key]) for key in sorted(channels, key=int)]
    if all(len(files) == 1 for files in images.cases.values()):
        names = [" ".join(names)]  # colours are in one file
    if len(options.input_slugs) != len(names):
        raise SetupError(
            f"{len(options.input_slugs)} --input-slug, and the dataset has {len(names)} channel(s): {', '.join(names)}",
            mend="name the challenge's sockets in the order of the channels: "
            + " ".join(f"--input-slug {_as_slug(name)}" for name in names),
        )
    for slug in (*options.input_slugs, options.output_slug):
        if not _SLUG.fullmatch(slug):
            raise SetupError(
                f"'{slug}' is no slug of grand-challenge.org: small letters, digits and single hyphens",
                mend=f"e.g. {_as_slug(slug)}; the challenge's page for submissions lists them",
            )
    if len(set(options.input_slugs)) < len(options.input_slugs):
        raise SetupError("two channels have the same --input-slug", mend="name one socket per channel")


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
    if found is None or not found.__module__.startswith("nnunetv2."):
        raise SetupError(
            f"the trainer {trainer} is neither nnU-Net's nor ours: the container would not know it",
            where=model.folder,
            mend="use a model of nnUNetTrainer or nnUNetTrainerGenesis",
        )
    return trainer


def _config(options: ContainerOptions, images: TestImages, models: Sequence[TrainedModel]) -> dict[str, Any]:
    members = [model.folder for model in models]
    stages: list[TrainedModel] = []
    for stage in (stage for model in models for stage in model.stages()):
        if stage.folder not in [other.folder for other in stages]:
            stages.append(stage)
    places = {stage.folder: number for number, stage in enumerate(stages)}
    return {
        "input_slugs": list(options.input_slugs),
        "output_slug": options.output_slug,
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


def _write_scripts(folder: Path, image_name: str) -> None:
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
    _write_text(folder / "requirements.txt", "\n".join(pin_requirements("nnunetv2")) + "\n")


def _write_text(file: Path, text: str) -> None:
    """Linux runs it, wherever it is written."""
    file.write_text(text, encoding="utf-8", newline="\n")


def _write_example(folder: Path, channels: Sequence[Path], slugs: Sequence[str], reader: str | None) -> None:
    """The case as the platform would hand it in: .mha, under one name in each socket's folder.

    Args:
        folder: Gets a folder per socket.
        channels: Files of the case.
        slugs: Of the sockets.
        reader: nnU-Net's, by the plans.
    """
    for channel, slug in zip(channels, slugs, strict=True):
        (folder / slug).mkdir(parents=True)
        if reader == VOLUMES_IN_TIFF:
            sitk.WriteImage(_read_tiff(channel), str(folder / slug / "example.mha"), True)
        elif channel.name.endswith((".tif", ".tiff")):
            shutil.copyfile(channel, folder / slug / f"example{channel.suffix}")
        else:
            sitk.WriteImage(read_plain(channel), str(folder / slug / "example.mha"), True)


def _read_tiff(file: Path) -> sitk.Image:
    """A volume with the spacing that nnU-Net reads from CASE.json beside it, 1 mm where there is none.

    Raises:
        DataError: If that file tells no spacing.
    """
    import tifffile

    image = sitk.GetImageFromArray(tifffile.imread(file))
    beside = file.with_name(f"{file.stem.rpartition('_')[0]}.json")
    if beside.is_file():
        try:
            image.SetSpacing([float(mm) for mm in reversed(read_json(beside)["spacing"])])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DataError(
                f"no spacing of a volume ({type(error).__name__}: {error})",
                where=beside,
                mend='write {"spacing": [3.0, 0.5, 0.5]}: millimetres, slices first',
            ) from error
    return image
