"""The command lines: parse, call, print. Heavy imports are inside, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis import __version__
from nnunet_genesis.cli_benchmark import add_benchmark_command
from nnunet_genesis.cli_config import add_plans_flags, choose_workers, resolve_config
from nnunet_genesis.cli_discover import add_discover_command
from nnunet_genesis.cli_pretexts import add_pretext_flags
from nnunet_genesis.cli_probe import add_probe_command
from nnunet_genesis.cli_sources import add_source_flags
from nnunet_genesis.cli_submit import add_submit_command
from nnunet_genesis.cli_trainers import add_trainer_commands
from nnunet_genesis.cli_unlabeled import add_unlabeled_command
from nnunet_genesis.cli_weights import add_weight_commands
from nnunet_genesis.config import DEFAULT_PRETEXT, OPTIMIZERS, PRECISIONS
from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.pretraining.interruption import EXIT_INTERRUPTED, EXIT_REQUEUE, StoppedEarly, StopRequest
from nnunet_genesis.pretraining.processes import (
    is_first_process,
    loader_workers,
    may_be_restarted,
    same_launcher,
    torchrun_name,
)
from nnunet_genesis.pretraining.saving import DEFAULT_MINUTES
from nnunet_genesis.screen import unfailing_screen
from nnunet_genesis.storage import cannot_write, storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


EXIT_ERROR = 1


def pretrain(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``genesis-pretrain-nnunet``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with unfailing_screen(results_too=True):
        options = _pretrain_parser().parse_args(given)
        _exit_with(lambda: _pretrain(options, given))


def genesis(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``genesis``."""
    with unfailing_screen(results_too=False):
        options = _genesis_parser().parse_args(arguments)
        _exit_with(lambda: options.action(options))


def _exit_with(action: Callable[[], int]) -> None:
    try:
        code = action()
    except GenesisError as error:
        sys.stderr.write(f"error: {error}\n")
        code = EXIT_ERROR
    except OSError as error:
        where = Path(error.filename) if isinstance(error.filename, str) else None
        told = storage_error(error, where) if where is not None and cannot_write(error) else None
        sys.stderr.write(f"error: {told or error.strerror or error}\n")
        if told is None:
            sys.stderr.write(f"  where: {error.filename or 'unknown file'}\n")
        code = EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = EXIT_INTERRUPTED
    sys.exit(code)


class _ExactParser(argparse.ArgumentParser):
    """Takes ``--flags`` as they are written here only: printed commands leave some out, which they find by their names.

    Parsers of subcommands are of the same class. Flags with one dash (``-device``) may be shortened; none is left out.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)


def _pretrain_parser() -> argparse.ArgumentParser:
    parser = _ExactParser(
        prog="genesis-pretrain-nnunet",
        description="Pretrain the network of your nnU-Net plans on preprocessed images, without labels."
        " Then: nnUNetv2_train DATASET CONFIGURATION FOLD -tr nnUNetTrainerGenesis",
        epilog="Exit codes: 0 finished (with --c also where it was finished before);"
        f" {EXIT_ERROR} error; {EXIT_REQUEUE} saved and stopped by a scheduler (SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU)"
        f" or a closed terminal, to be run again with --c; {EXIT_INTERRUPTED} saved and stopped by Ctrl-C.",
    )
    add_plans_flags(parser)
    add = parser.add_argument
    add("-device", choices=("cuda", "cpu", "mps"), default="cuda", help="default: %(default)s")
    add("-num_gpus", type=int, default=1, help="GPUs (with -device cpu: processes) on this host (default: 1)")
    add("-np", dest="workers", type=int, default=None, help="loader processes per GPU (default: by nnUNet_n_proc_DA)")
    add(
        "--c",
        dest="continue_run",
        action="store_true",
        help="continue an interrupted pretraining; where there is none, start it",
    )
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
    add(
        "--save-every-minutes",
        type=float,
        default=DEFAULT_MINUTES,
        help="longest time between two saves of what --c continues from, and the most that a kill can cost"
        " (default: %(default)g)",
    )
    add("--save-every-epochs", type=int, help="save after so many epochs, too (default: after the first one only)")
    add("--version", action="version", version=f"nnunet-genesis {__version__}")
    return parser


def _genesis_parser() -> argparse.ArgumentParser:
    parser = _ExactParser(prog="genesis", description="Tools of nnunet-genesis.")
    parser.add_argument("--version", action="version", version=f"nnunet-genesis {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="make synthetic CT scans and run the whole pipeline on the CPU, in about 10 minutes"
    )
    demo.add_argument("--output", type=Path, default=Path("demo_report"), help="new folder (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="default: 0")
    demo.set_defaults(action=_demo)
    preview = commands.add_parser("preview", help="draw what pretraining does to your scans, before you run it")
    add_plans_flags(preview)
    add = preview.add_argument
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
    add_benchmark_command(commands)
    add_unlabeled_command(commands)
    add_weight_commands(commands)
    add_trainer_commands(commands)
    add_submit_command(commands)
    return parser


def _pretrain(options: argparse.Namespace, given: list[str]) -> int:
    is_first = is_first_process()
    continuing = [word for word in given if word not in ("--overwrite", "--c")]
    command = shlex.join(["genesis-pretrain-nnunet", *continuing, "--c"])
    with StopRequest() as stop:
        try:
            finished = _run_pretraining(options, command, stop, is_first=is_first)
        except StoppedEarly:
            # The results that --overwrite gives up may still be there, and --c would go on with them.
            again = shlex.join(["genesis-pretrain-nnunet", *given]) if options.overwrite else command
            sys.stderr.write(f"stopped before the first step; begin again{same_launcher()} with:\n  {again}\n")
            return stop.exit_code
    # The launcher takes any other code of a process that it started for a crash, and would kill the others.
    return 0 if finished or not is_first else stop.exit_code


def _run_pretraining(options: argparse.Namespace, command: str, stop: StopRequest, *, is_first: bool) -> bool:
    from nnunet_genesis import checkpoint
    from nnunet_genesis.plans import load_planned_configuration
    from nnunet_genesis.pretraining.run_files import stored_config, was_begun_by

    planned = load_planned_configuration(options.dataset, options.plans, options.configuration, needs_cases=False)
    stored: dict[str, Any] | None = None
    pretext = options.pretext or DEFAULT_PRETEXT
    output = options.output or planned.pretraining_folder(pretext, options.exclude_fold)
    workers = choose_workers(options.workers, loader_workers(options.num_gpus))
    if may_be_restarted() and was_begun_by(output, torchrun_name()):
        options.continue_run, options.overwrite = True, False
    if options.continue_run:
        stored = stored_config(output)
    config = resolve_config(options, planned, stored)

    from nnunet_genesis.pretraining.run import RunOptions, run_pretraining

    finished = run_pretraining(
        planned,
        config,
        RunOptions(
            output=output,
            device=options.device,
            num_devices=options.num_gpus,
            workers=workers,
            continue_run=options.continue_run,
            overwrite=options.overwrite,
            save_every_minutes=options.save_every_minutes,
            save_every_epochs=options.save_every_epochs,
            command=command,
        ),
        stop,
    )
    if finished and is_first:
        sys.stdout.write(f"{output / checkpoint.FINAL_NAME}\n")
        if options.output is not None:
            final = shlex.quote(str((output / checkpoint.FINAL_NAME).absolute()))
            sys.stderr.write(f"to train from it: export nnUNet_genesis_checkpoint={final}\n")
    return finished


def _demo(options: argparse.Namespace) -> int:
    from nnunet_genesis.demo.run import run_demo

    run_demo(options.output, options.seed)
    return 0


def _preview(options: argparse.Namespace) -> int:
    from nnunet_genesis.plans import load_planned_configuration

    if options.count < 1:
        raise SetupError(f"--count {options.count}: must be at least 1", mend="--count 3")
    planned = load_planned_configuration(options.dataset, options.plans, options.configuration, needs_cases=False)
    config = resolve_config(options, planned)
    default = f"genesis_preview_{planned.dataset_name}_{planned.configuration}"

    from nnunet_genesis.pretraining.preview import preview

    for file in preview(planned, config, options.output or Path(default), count=options.count):
        sys.stdout.write(f"{file}\n")
    return 0
