"""``genesis benchmark``: does pretraining help on these data, and how sure is it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.cli_device import DEVICES, choose_device
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import argparse

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.plans import PlannedConfiguration

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


def add_benchmark_command(commands: Any) -> None:
    """Add the parser to those of ``genesis``."""
    parser = commands.add_parser(
        "benchmark",
        help="train nnU-Net from scratch and from pretrained weights, with few and many labels, and compare them",
        description="Train nnU-Net from scratch and from pretrained weights on the same few and many labelled cases,"
        " with the same schedules and seeds, and compare them on test cases that nothing has seen. What is finished is"
        " never run again: run the command again to continue, and with other values to add to the same benchmark.",
    )
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="name or id of a preprocessed dataset, e.g. Dataset003_Liver or 3")
    add("-c", dest="configuration", default="3d_fullres", help="nnU-Net configuration (default: %(default)s)")
    add("-p", dest="plans", default="nnUNetPlans", help="nnU-Net plans identifier (default: %(default)s)")
    add("--name", help="of this benchmark, where a dataset has several")
    add("--output", type=Path, metavar="FOLDER", help=_OUTPUT)
    _add_comparison_flags(parser)
    _add_data_flags(parser)
    _add_running_flags(parser)
    parser.set_defaults(action=_benchmark)


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
    add("--labelled", nargs="+", default=[], metavar="N", help=_LABELLED)
    add("--schedules", nargs="+", default=[], metavar="SCHEDULE", help=_SCHEDULES)
    add("--seeds", nargs="+", type=int, default=[], metavar="SEED", help="of the trainings (default: 0 1 2)")
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
    add(
        "--report-only",
        action="store_true",
        help="collect the scores of finished runs and write the report, without running anything",
    )


def _benchmark(options: argparse.Namespace) -> int:
    from nnunet_genesis.benchmark.record import read_record
    from nnunet_genesis.benchmark.runs import parse_job
    from nnunet_genesis.plans import load_planned_configuration

    job = parse_job(options.job) if options.job else (1, 1)
    planned = load_planned_configuration(options.dataset, options.plans, options.configuration)
    folder = _resolve_folder(options, planned)
    before = read_record(folder)
    if options.report_only:
        return _report(_require(before, folder), folder)
    return _run(options, planned, folder, before, job)


def _run(
    options: argparse.Namespace,
    planned: PlannedConfiguration,
    folder: Path,
    before: Record | None,
    job: tuple[int, int],
) -> int:
    from nnunet_genesis.benchmark.execution import ExecutionOptions, execute
    from nnunet_genesis.benchmark.initialisations import parse_initialisations, pretraining_command
    from nnunet_genesis.benchmark.overview import describe_data, describe_runs
    from nnunet_genesis.benchmark.planning import Axes, commit_plan, make_plan, write_test_cases
    from nnunet_genesis.benchmark.record import locked
    from nnunet_genesis.benchmark.request import refuse_cascade, resolve_settings
    from nnunet_genesis.benchmark.runs import take_share
    from nnunet_genesis.benchmark.training import find_command

    refuse_cascade(planned)
    candidates = parse_initialisations(options.initialisations)
    axes = Axes(candidates, options.labelled, options.schedules, options.seeds)
    settings = resolve_settings(
        _request(options), planned, None if before is None else before.settings, folder, choose_device(None)
    )
    plan = make_plan(settings, axes, planned, before)
    if options.dry_run:
        from nnunet_genesis.benchmark.collect import list_reports, report_on

        with locked(folder):
            exclude_file = write_test_cases(folder, settings, planned)
        runs = take_share(plan.runs, job)
        everything = list_reports(folder, plan.record)
        lines = [*describe_data(plan.record), *(f"note: {note}" for note in plan.notes), ""]
        lines += describe_runs([report_on(folder, run) for run in runs], everything)
        lines += ["", f"pretrain without the test cases:\n  {pretraining_command(planned, exclude_file.absolute())}"]
        sys.stdout.write("\n".join(lines) + "\n")
        return 0
    find_command()
    choose_device(settings.device)
    plan = commit_plan(
        plan, axes, folder, planned, trust=options.trust_unchecked, command=shlex.join(["genesis", *sys.argv[1:]])
    )
    sys.stdout.write("\n".join([*describe_data(plan.record), *(f"note: {note}" for note in plan.notes), ""]) + "\n")
    sys.stdout.flush()
    execution = ExecutionOptions(options.retry_failed, options.keep_checkpoints)
    try:
        outcome = execute(take_share(plan.runs, job), plan.record, folder, planned, execution)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; finished runs are kept, and the same command continues\n")
        raise
    for name in outcome.busy:
        sys.stdout.write(f"left to the process that is at it: {name}\n")
    for name in outcome.skipped:
        sys.stdout.write(f"failed before, --retry-failed runs it again: {name}\n")
    _report(plan.record, folder, waits_for_others=options.job is not None)
    return 1 if outcome.failed or outcome.skipped else 0


def _report(record: Record, folder: Path, *, waits_for_others: bool = False) -> int:
    from nnunet_genesis.benchmark.collect import collect, list_reports
    from nnunet_genesis.benchmark.overview import describe_failures, describe_runs
    from nnunet_genesis.benchmark.record import locked, read_record
    from nnunet_genesis.benchmark.report import write_report
    from nnunet_genesis.benchmark.run_folder import State

    with locked(folder):
        record = read_record(folder) or record  # another process may have added runs
        collect(folder, record)
        reports = list_reports(folder, record)
        is_last = all(report.state in (State.FINISHED, State.FAILED) for report in reports)
        page = write_report(folder) if is_last or not waits_for_others else None
    sys.stdout.write("\n".join([*describe_runs(reports, reports), *describe_failures(reports)]) + "\n")
    told = "the report is written by the job that ends last, or now by --report-only" if page is None else str(page)
    sys.stdout.write(f"{told}\n")
    return 0


def _request(options: argparse.Namespace) -> Any:
    from nnunet_genesis.benchmark.request import Request

    return Request(
        device=options.device,
        cpu_bf16=options.cpu_bf16,
        epochs=options.epochs,
        iterations=options.iterations,
        groups_file=options.groups,
        group_pattern=options.group_pattern,
        test_cases_file=options.test_cases,
        test_share=options.test_share,
        test_fold=options.test_fold,
        subset_seed=options.subset_seed,
        subset_draws=options.subset_draws,
        tolerances=options.tolerance,
    )


def _resolve_folder(options: argparse.Namespace, planned: PlannedConfiguration) -> Path:
    from nnunet_genesis.benchmark.planning import TEST_CASES_FILE
    from nnunet_genesis.benchmark.record import LOCK_FILE, RECORD_FILE
    from nnunet_genesis.folders import refuse_used_folder

    if options.output is not None and options.name is not None:
        raise SetupError("--name and --output both say where the benchmark is", mend="leave one of them out")
    default = "__".join(["GenesisBenchmark", planned.plans_name, planned.configuration, *filter(None, [options.name])])
    folder: Path = options.output or planned.results_folder / default
    is_ours = (folder / RECORD_FILE).is_file()
    entries = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if not is_ours and not entries <= {TEST_CASES_FILE, LOCK_FILE}:
        refuse_used_folder(folder, "the benchmark")
    return folder


def _require(record: Record | None, folder: Path) -> Record:
    if record is None:
        raise SetupError(
            "there is no benchmark here", where=folder, mend="leave --report-only out, or name its folder with --output"
        )
    return record
