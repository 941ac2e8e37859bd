"""``genesis submit``: archives and containers for challenges, checkpoints for benchmarks of pretraining."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import argparse

    from nnunet_genesis.submission.models import Choice

FORMATS = ("msd", "grand-challenge", "ssl3d")
_MODEL = (
    "model folder, or its name TRAINER__PLANS__CONFIGURATION in nnUNet_results/DATASET; several are averaged"
    " (default: what nnUNetv2_find_best_configuration recommended, else the only model that there is)"
)
_MSD, _CONTAINER, _SSL3D = FORMATS
_FORMATS_OF = {
    **dict.fromkeys(("--predictions", "--task", "--task-json", "--label-map", "--archive"), (_MSD,)),
    **dict.fromkeys(("-device", "-npp", "-nps"), (_MSD,)),
    **dict.fromkeys(("--input-path", "--output-path", "--example"), (_CONTAINER,)),
    **dict.fromkeys(("--model", "-tr", "-f", "-chk", "--postprocessing", "--no-postprocessing"), (_MSD, _CONTAINER)),
    **dict.fromkeys(("--checkpoint", "--any-patch"), (_SSL3D,)),
}
"""Flags that do not mean something in every format, and the formats where they do."""
_NAMES = {"-tr": "trainer", "-f": "folds", "-chk": "checkpoint_name"}


def add_submit_command(commands: Any) -> None:
    """Add the parser to those of ``genesis``."""
    parser = commands.add_parser(
        "submit",
        help="check predictions and archive them for the Decathlon, write a container, or hand in a pretraining",
        description="msd: predict imagesTs (or take --predictions), check every prediction against its image, and write"
        " the archive of the Medical Segmentation Decathlon. grand-challenge: write a container around a trained model."
        " ssl3d: check a pretrained ResEnc-L and write it for the SSL3D challenge or OpenMind's benchmark.",
    )
    add = parser.add_argument
    add("dataset", metavar="DATASET", nargs="?", help="name or id, e.g. Dataset003_Liver or 3")
    add("--format", required=True, choices=FORMATS)
    add("--output", type=Path, help="folder to write into (default: genesis_submission_DATASET_FORMAT)")
    models = parser.add_argument_group("trained models (msd, grand-challenge)")
    add = models.add_argument
    add("--model", nargs="+", action="extend", default=[], metavar="FOLDER", help=_MODEL)
    add("-tr", dest="trainer", help="trainer of the model")
    add("-p", dest="plans", help="plans identifier of the model (ssl3d: of the pretraining)")
    add("-c", dest="configuration", help="configuration of the model (ssl3d: of the pretraining)")
    add("-f", dest="folds", nargs="+", help="folds, or all (default: 0 1 2 3 4, or all where it is the only one)")
    add("-chk", dest="checkpoint_name", help="default: checkpoint_final.pth")
    add("--postprocessing", type=Path, metavar="FILE", help="postprocessing.pkl (default: the model's own, if any)")
    add("--no-postprocessing", action="store_true", help="do not postprocess")
    msd = parser.add_argument_group("msd")
    add = msd.add_argument
    add("--predictions", type=Path, metavar="FOLDER", help="take predictions that exist, predict nothing")
    add("--task", help="folder in the archive, e.g. Task03_Liver (default: by the dataset's name)")
    add(
        "--task-json", type=Path, metavar="FILE", help="the challenge's dataset.json: its cases and labels are compared"
    )
    add("--label-map", nargs="+", action="extend", metavar="PREDICTED=CHALLENGE", help="e.g. 1=2 2=1")
    add("--archive", choices=("zip", "tar"), help="default: zip")
    add("-device", choices=("cuda", "cpu", "mps"), help="default: cuda where there is one, else cpu")
    add("-npp", type=int, help="processes that preprocess (default: 3)")
    add("-nps", type=int, help="processes that export (default: 3)")
    container = parser.add_argument_group("grand-challenge")
    add = container.add_argument
    told = (
        "path of the challenge's input socket, e.g. images/ct (not always its slug), once per channel, in their order"
    )
    add("--input-path", action="append", metavar="PATH", help=told)
    add("--output-path", metavar="PATH", help="path of the challenge's output socket, e.g. images/liver")
    add("--example", metavar="CASE", help="case for the test script (default: the first of imagesTs, else imagesTr)")
    pretraining = parser.add_argument_group("ssl3d")
    add = pretraining.add_argument
    add("--checkpoint", metavar="FILE", help="the pretraining, a path or hf:// (default: the finished one of DATASET)")
    add("--any-patch", action="store_true", default=None, help="take a pretraining with other patches than 160^3")
    parser.set_defaults(action=_submit)


def _submit(options: argparse.Namespace) -> int:
    logging.basicConfig(format="%(levelname)s: %(message)s")
    for flag, formats in _FORMATS_OF.items():
        name = _NAMES.get(flag) or flag.lstrip("-").replace("-", "_")
        if options.format not in formats and getattr(options, name) not in (None, [], False):
            raise SetupError(
                f"{flag} belongs to --format {' and '.join(formats)}, not to {options.format}",
                mend=f"leave it out, or --format {formats[0]}",
            )
    if options.dataset is None and not (options.format == "ssl3d" and options.checkpoint):
        raise SetupError("no DATASET is named", mend=f"genesis submit DATASET --format {options.format}")
    action = {"msd": _submit_msd, "grand-challenge": _submit_grand_challenge, "ssl3d": _submit_ssl3d}[options.format]
    for file in action(options):
        sys.stdout.write(f"{file}\n")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _output(options: argparse.Namespace, dataset_name: str) -> Path:
    return options.output or Path(f"genesis_submission_{dataset_name}_{options.format}")


def _choice(options: argparse.Namespace) -> Choice:
    from nnunet_genesis.nnunet_folders import FINAL_CHECKPOINT
    from nnunet_genesis.submission.models import Choice

    return Choice(
        models=tuple(options.model),
        trainer=options.trainer,
        plans=options.plans,
        configuration=options.configuration,
        folds=None if options.folds is None else tuple(options.folds),
        checkpoint_name=options.checkpoint_name or FINAL_CHECKPOINT,
    )


def _submit_msd(options: argparse.Namespace) -> list[Path]:
    from nnunet_genesis.cli_device import choose_device
    from nnunet_genesis.pretraining.unlabeled.raw_datasets import find_raw_dataset
    from nnunet_genesis.submission.msd import MsdOptions, submit_msd
    from nnunet_genesis.submission.postprocessing import Postprocessing
    from nnunet_genesis.submission.prediction import Machine

    for flag in ("npp", "nps"):
        if getattr(options, flag) is not None and getattr(options, flag) < 1:
            raise SetupError(f"-{flag} {getattr(options, flag)}: must be at least 1", mend=f"-{flag} 1")
    device = "cpu" if options.predictions else choose_device(options.device)
    given = {
        name: getattr(options, name)
        for name in ("predictions", "task", "task_json", "archive")
        if getattr(options, name) is not None
    }
    return submit_msd(
        MsdOptions(
            dataset=options.dataset,
            output=_output(options, find_raw_dataset(options.dataset).name),
            choice=_choice(options),
            machine=Machine(device, options.npp or 3, options.nps or 3),
            postprocessing=Postprocessing(options.postprocessing, wanted=not options.no_postprocessing),
            label_map=tuple(options.label_map or ()),
            **given,
        ),
        _say,
    )


def _submit_grand_challenge(options: argparse.Namespace) -> list[Path]:
    from nnunet_genesis.pretraining.unlabeled.raw_datasets import find_raw_dataset
    from nnunet_genesis.submission.grand_challenge import ContainerOptions, write_container
    from nnunet_genesis.submission.postprocessing import Postprocessing

    if not options.output_path:
        raise SetupError(
            "no --output-path: the challenge's page for submissions shows where its output belongs",
            mend="--output-path images/NAME",
        )
    return write_container(
        ContainerOptions(
            dataset=options.dataset,
            output=_output(options, find_raw_dataset(options.dataset).name),
            choice=_choice(options),
            input_paths=tuple(options.input_path or ()),
            output_path=options.output_path,
            postprocessing=Postprocessing(options.postprocessing, wanted=not options.no_postprocessing),
            example=options.example,
        ),
        _say,
    )


def _submit_ssl3d(options: argparse.Namespace) -> list[Path]:
    from nnunet_genesis.hub import resolve
    from nnunet_genesis.submission.ssl3d import find_pretraining, submit_ssl3d

    if options.checkpoint:
        file, name = resolve(options.checkpoint), options.dataset or "pretraining"
    else:
        file = find_pretraining(options.dataset, options.plans, options.configuration)
        name = file.parents[1].name
    return submit_ssl3d(file, _output(options, name), any_patch=bool(options.any_patch))
