"""The command lines: parse, call, print. Heavy imports are inside, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis import __version__
from nnunet_genesis.cli_discover import add_discover_command
from nnunet_genesis.cli_pretexts import DEFAULT_PRETEXT, add_pretext_flags, resolve_pretext
from nnunet_genesis.cli_probe import add_probe_command
from nnunet_genesis.cli_sources import add_source_flags, resolve_sources
from nnunet_genesis.cli_submit import add_submit_command
from nnunet_genesis.cli_trainers import add_trainer_commands
from nnunet_genesis.cli_unlabeled import add_unlabeled_command
from nnunet_genesis.cli_weights import add_weight_commands
from nnunet_genesis.config import (
    DEFAULT_LEARNING_RATES,
    OPTIMIZERS,
    PRECISIONS,
    PretrainingConfig,
)
from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.pretraining.processes import count_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnunet_genesis.plans import PlannedConfiguration

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


def pretrain(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``genesis-pretrain-nnunet``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _pretrain_parser().parse_args(given)
    _exit_with(lambda: _pretrain(options, given))


def genesis(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``genesis``."""
    options = _genesis_parser().parse_args(arguments)
    _exit_with(lambda: options.action(options))


def _exit_with(action: Callable[[], int]) -> None:
    try:
        code = action()
    except GenesisError as error:
        sys.stderr.write(f"error: {error}\n")
        code = EXIT_ERROR
    except OSError as error:
        sys.stderr.write(f"error: {error.strerror or error}\n  where: {error.filename or 'unknown file'}\n")
        code = EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _pretrain_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genesis-pretrain-nnunet",
        description="Pretrain the network of your nnU-Net plans on preprocessed images, without labels."
        " Then: nnUNetv2_train DATASET CONFIGURATION FOLD -tr nnUNetTrainerGenesis",
    )
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="name or id of a preprocessed dataset, e.g. Dataset003_Liver or 3")
    add("-c", dest="configuration", default="3d_fullres", help="nnU-Net configuration (default: %(default)s)")
    add("-p", dest="plans", default="nnUNetPlans", help="nnU-Net plans identifier (default: %(default)s)")
    add("-device", choices=("cuda", "cpu", "mps"), default="cuda", help="default: %(default)s")
    add("-num_gpus", type=int, default=1, help="GPUs (with -device cpu: processes) on this host (default: 1)")
    add("-np", dest="workers", type=int, default=None, help="loader processes per GPU (default: by nnUNet_n_proc_DA)")
    add("--c", dest="continue_run", action="store_true", help="continue an interrupted pretraining")
    add("--epochs", type=int, help="default: 1000")
    add("--iterations-per-epoch", type=int, help="default: 250")
    add("--batch-size", type=int, help="patches per step over all devices (default: the plans')")
    add("--optimizer", choices=OPTIMIZERS, help="default: adamw")
    add("--lr", dest="learning_rate", type=float, help="peak learning rate (default: 1e-3 for adamw, 1e-2 for sgd)")
    add("--precision", choices=PRECISIONS, help="default: auto, mixed precision on CUDA and 32-true elsewhere")
    add("--seed", type=int, help="default: 0")
    add("--val-fraction", type=float, help="share of the cases held out for validation (default: 0.1)")
    add_pretext_flags(parser)
    add_source_flags(parser)
    add("--output", type=Path, help="output folder (default: inside nnUNet_results/DATASET)")
    add("--overwrite", action="store_true", help="replace the results of an earlier pretraining")
    add("--version", action="version", version=f"nnunet-genesis {__version__}")
    return parser


def _genesis_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="genesis", description="Tools of nnunet-genesis.")
    parser.add_argument("--version", action="version", version=f"nnunet-genesis {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="make synthetic CT scans and run the whole pipeline on the CPU, in about a quarter of an hour"
    )
    demo.add_argument("--output", type=Path, default=Path("demo_report"), help="new folder (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="default: 0")
    demo.set_defaults(action=_demo)
    preview = commands.add_parser("preview", help="draw what pretraining does to your scans, before you run it")
    add = preview.add_argument
    add("dataset", metavar="DATASET", help="name or id of a preprocessed dataset, e.g. Dataset003_Liver or 3")
    add("-c", dest="configuration", default="3d_fullres", help="nnU-Net configuration (default: %(default)s)")
    add("-p", dest="plans", default="nnUNetPlans", help="nnU-Net plans identifier (default: %(default)s)")
    add(
        "--seed",
        type=int,
        help="default: 0; the patches are those that pretraining with this seed and default settings begins with",
    )
    add_pretext_flags(preview)
    add_source_flags(preview)
    add("--count", type=int, default=3, help="patches (default: %(default)s)")
    add("--output", type=Path, help="new folder (default: genesis_preview_DATASET_CONFIGURATION)")
    preview.set_defaults(action=_preview, num_gpus=1)
    add_discover_command(commands)
    add_probe_command(commands)
    add_unlabeled_command(commands)
    add_weight_commands(commands)
    add_trainer_commands(commands)
    add_submit_command(commands)
    return parser


def _pretrain(options: argparse.Namespace, given: list[str]) -> int:
    from nnunet_genesis import checkpoint
    from nnunet_genesis.plans import load_planned_configuration
    from nnunet_genesis.pretraining.run_files import stored_config

    planned = load_planned_configuration(options.dataset, options.plans, options.configuration, needs_cases=False)
    stored: dict[str, Any] | None = None
    pretext = options.pretext or DEFAULT_PRETEXT
    folder = checkpoint.folder_name(pretext, planned.plans_name, planned.configuration)
    output = options.output or planned.results_folder / folder
    if options.workers is not None and options.workers < 0:
        raise SetupError(f"-np {options.workers}: must not be negative", mend="-np 2")
    if options.continue_run:
        stored = stored_config(output)
    config = _resolve_config(options, planned, stored)

    from nnunet_genesis.pretraining.run import RunOptions, run_pretraining

    continuing = [word for word in given if word not in ("--overwrite", "--c")]
    finished = run_pretraining(
        planned,
        config,
        RunOptions(
            output=output,
            device=options.device,
            num_devices=options.num_gpus,
            workers=_default_workers() if options.workers is None else options.workers,
            continue_run=options.continue_run,
            overwrite=options.overwrite,
            command=shlex.join(["genesis-pretrain-nnunet", *continuing, "--c"]),
        ),
    )
    is_first = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
    if finished and is_first:
        sys.stdout.write(f"{output / checkpoint.FINAL_NAME}\n")
        if options.output is not None:
            sys.stderr.write(f"to train from it: export nnUNet_genesis_checkpoint={output / checkpoint.FINAL_NAME}\n")
    # The launcher takes any other code of a process that it started for a crash, and would kill the others.
    return 0 if finished or not is_first else EXIT_INTERRUPTED


def _demo(options: argparse.Namespace) -> int:
    from nnunet_genesis.demo.run import run_demo

    run_demo(options.output, options.seed)
    return 0


def _preview(options: argparse.Namespace) -> int:
    from nnunet_genesis.plans import load_planned_configuration

    if options.count < 1:
        raise SetupError(f"--count {options.count}: must be at least 1", mend="--count 3")
    planned = load_planned_configuration(options.dataset, options.plans, options.configuration, needs_cases=False)
    config = _resolve_config(options, planned, stored=None)
    default = f"genesis_preview_{planned.dataset_name}_{planned.configuration}"

    from nnunet_genesis.pretraining.preview import preview

    for file in preview(planned, config, options.output or Path(default), count=options.count):
        sys.stdout.write(f"{file}\n")
    return 0


def _resolve_config(
    options: argparse.Namespace, planned: PlannedConfiguration, stored: dict[str, Any] | None
) -> PretrainingConfig:
    """Explicit flags over the stored settings of a continued run, else over the defaults."""
    names = {field.name for field in fields(PretrainingConfig)}
    explicit = {name: value for name, value in vars(options).items() if name in names and value is not None}
    pretext = options.pretext or (stored["pretext"] if stored else DEFAULT_PRETEXT)
    before = PretrainingConfig.from_dict({"batch_size": 1, **(stored or {}), "pretext": pretext})
    explicit |= resolve_pretext(options, before)
    explicit |= resolve_sources(options, planned)
    if stored is not None:
        return PretrainingConfig.from_dict({**stored, **explicit})
    processes = math.prod(count_processes(options.num_gpus))
    # The plans' batch, rounded up to what the processes can share.
    batch_size = math.ceil(planned.batch_size / processes) * processes
    settings = {"pretext": DEFAULT_PRETEXT, "batch_size": batch_size, **explicit}
    if settings["pretext"] == "universal-model":
        settings.setdefault("source_weights", "modality")
    settings.setdefault("learning_rate", DEFAULT_LEARNING_RATES[settings.get("optimizer", "adamw")])
    return PretrainingConfig(**settings)


def _default_workers() -> int:
    """Follow nnU-Net's variable, else leave one core to the main process, up to eight workers."""
    from_environment = os.environ.get("nnUNet_n_proc_DA", "")
    if from_environment.isdecimal():
        return int(from_environment)
    return max(1, min(8, (os.cpu_count() or 2) - 1))
