"""The flags of ``genesis benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.cli_device import DEVICES

if TYPE_CHECKING:
    import argparse

_INITIALISATION = (
    "a pretraining to compare with training from scratch, which always takes part: a checkpoint or hf://user/repo,"
    " with the name to call it by"
)
_LABELLED = (
    "numbers of labelled cases: counts, shares like 20%%, and all; smaller ones are part of larger ones (default:"
    " 5 10 20 50 all)"
)
_SCHEDULES = (
    "parts of trainer names: standard, warmup, sawtooth, frozen, layerwise, and full_... to load the decoder, too"
    " (default: standard; genesis trainers explains them)"
)
_OUTPUT = "folder of the benchmark (default: nnUNet_results/DATASET/GenesisBenchmark__PLANS__CONFIGURATION[__NAME])"
_JOB = "run only the i-th of n equal shares, for several processes or cluster jobs at once, e.g. 1/8"
_TRUST = "compare files that do not tell all that their pretraining saw; the report then says so"

_FORGET = (
    "take back what was planned by mistake: drop all runs that have not begun, list them, and write the report, without"
    " running anything; what began or failed is kept"
)


def add_benchmark_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to the command."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="name or id of a preprocessed dataset, e.g. Dataset003_Liver or 3")
    add("-c", dest="configuration", default="3d_fullres", help="nnU-Net configuration (default: %(default)s)")
    add("-p", dest="plans", default="nnUNetPlans", help="nnU-Net plans identifier (default: %(default)s)")
    add("--name", help="of this benchmark, where a dataset has several")
    add("--output", type=Path, metavar="FOLDER", help=_OUTPUT)
    _add_comparison_flags(parser)
    _add_data_flags(parser)
    _add_running_flags(parser)


def _add_comparison_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "what is compared", "Every value of one with every value of the others."
    ).add_argument
    add(
        "--initialisation",
        "--init",
        dest="initialisations",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help=_INITIALISATION,
    )
    add("--labelled", nargs="+", action="extend", default=[], metavar="N", help=_LABELLED)
    add("--schedules", nargs="+", action="extend", default=[], metavar="SCHEDULE", help=_SCHEDULES)
    add(
        "--seeds",
        nargs="+",
        type=int,
        action="extend",
        default=[],
        metavar="SEED",
        help="of the trainings (default: 0 1 2)",
    )
    add("--epochs", type=int, help="of every training (default: nnU-Net's, 1000)")
    add("--iterations", type=int, help="per epoch (default: nnU-Net's, 250)")
    add("--trust-unchecked", action="store_true", help=_TRUST)


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("on which cases")
    add = group.add_argument
    groups = group.add_mutually_exclusive_group()
    groups.add_argument(
        "--groups",
        type=Path,
        metavar="FILE",
        help="table (csv) with the header case,group; groups, e.g. patients, are never divided",
    )
    groups.add_argument(
        "--group-pattern", metavar="REGEX", help=r"finds the group in a case's name, e.g. '^(patient_\d+)'"
    )
    test = group.add_mutually_exclusive_group()
    test.add_argument(
        "--test-share", type=float, metavar="SHARE", help="share of the cases that is drawn as test set (default: 0.2)"
    )
    test.add_argument("--test-cases", type=Path, metavar="FILE", help="text file with a test case per line")
    test.add_argument("--test-fold", type=int, metavar="K", help="the validation cases of fold K are the test set")
    add("--subset-seed", type=int, help="of the test set and the labelled cases (default: 0)")
    add(
        "--subset-draws",
        choices=("fixed", "per-seed"),
        help="whether all seeds train on the same labelled cases, or each draws its own (default: fixed)",
    )
    add(
        "--tolerance",
        nargs="+",
        action="extend",
        default=[],
        metavar="[CLASS=]MM",
        help="deviation of a surface that counts as none (default: the smallest side of the median voxel)",
    )


def _add_running_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how it is run").add_argument
    add("-device", choices=DEVICES, help="default: cuda where there is one, else cpu")
    add("--cpu-bf16", action="store_true", help="on a CPU, run the networks in bfloat16, all of them alike")
    add(
        "--dry-run",
        action="store_true",
        help="print the runs with the expected time, write the list of test cases, and stop",
    )
    add("--job", metavar="I/N", help=_JOB)
    add("--retry-failed", action="store_true", help="run again what failed before")
    add(
        "--keep-checkpoints",
        choices=("final", "no"),
        default="final",
        help="weights that stay once a run is scored; predictions always stay (default: %(default)s)",
    )
    add("--forget-pending", action="store_true", help=_FORGET)
    add(
        "--report-only",
        action="store_true",
        help="collect the scores of finished runs and write the report, without running anything",
    )
