"""``genesis benchmark``: does pretraining help on these data, and how sure is it."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

from nnunet_genesis.cli_benchmark_flags import add_benchmark_flags
from nnunet_genesis.cli_device import choose_device
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.plans import PlannedConfiguration


def add_benchmark_command(commands: Any) -> None:
    """Add the parser to those of ``genesis``."""
    parser = commands.add_parser(
        "benchmark",
        help="train nnU-Net from scratch and from pretrained weights, with few and many labels, and compare them",
        description="Train nnU-Net from scratch and from pretrained weights on the same few and many labelled cases,"
        " with the same schedules and seeds, and compare them on test cases that nothing has seen. What is finished is"
        " never run again: run the command again to continue, and with other values to add to the same benchmark.",
    )
    add_benchmark_flags(parser)
    parser.set_defaults(action=_benchmark)


def _benchmark(options: argparse.Namespace) -> int:
    from nnunet_genesis.benchmark.record import read_record
    from nnunet_genesis.benchmark.runs import parse_job
    from nnunet_genesis.plans import load_planned_configuration

    job = parse_job(options.job) if options.job else (1, 1)
    planned = load_planned_configuration(options.dataset, options.plans, options.configuration)
    folder = _resolve_folder(options, planned)
    before = read_record(folder)
    if options.forget_pending:
        _require(before, folder)
        return _forget(options, folder)
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
    from nnunet_genesis.benchmark.candidates import parse_initialisations
    from nnunet_genesis.benchmark.command import find_command
    from nnunet_genesis.benchmark.execution import ExecutionOptions, execute
    from nnunet_genesis.benchmark.initialisations import pretraining_command
    from nnunet_genesis.benchmark.overview import describe_data, describe_runs
    from nnunet_genesis.benchmark.planning import Axes, commit_plan, make_plan, write_test_cases
    from nnunet_genesis.benchmark.record import locked
    from nnunet_genesis.benchmark.request import refuse_cascade, resolve_settings
    from nnunet_genesis.benchmark.runs import take_share

    refuse_cascade(planned)
    candidates = parse_initialisations(options.initialisations)
    axes = Axes(candidates, options.labelled, options.schedules, options.seeds)
    if options.job and before is None and not any((candidates, options.labelled, options.schedules, options.seeds)):
        raise SetupError(
            f"--job {options.job}: there is no benchmark yet, and nothing says what to compare",
            where=folder,
            mend="give this job the same flags as the others: the first to get there begins the benchmark",
        )
    settings = resolve_settings(
        _request(options), planned, None if before is None else before.settings, folder, choose_device(None)
    )
    plan = make_plan(settings, axes, planned, before)
    if options.dry_run:
        from nnunet_genesis.benchmark.collect import list_reports, report_on
        from nnunet_genesis.benchmark.earlier_trainings import seconds_by_logs
        from nnunet_genesis.benchmark.progress import expected_seconds

        with locked(folder):
            exclude_file = write_test_cases(folder, settings, planned)
        runs = take_share(plan.runs, plan.record.runs.values(), job)
        everything = list_reports(folder, plan.record)
        lines = [*describe_data(plan.record), *(f"note: {note}" for note in plan.notes), ""]
        is_known = expected_seconds(everything) is not None
        by_logs = None if is_known else seconds_by_logs(settings, folder, planned.results_folder)
        lines += describe_runs([report_on(folder, run) for run in runs], everything, by_logs)
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
        outcome = execute(
            take_share(plan.runs, plan.record.runs.values(), job), plan.record, folder, planned, execution
        )
    except KeyboardInterrupt:
        sys.stderr.write("stopped; finished runs are kept, and the same command continues\n")
        raise
    for name in outcome.busy:
        sys.stdout.write(f"left to the process that is at it: {name}\n")
    for name in outcome.skipped:
        sys.stdout.write(f"failed before, --retry-failed runs it again: {name}\n")
    _report(plan.record, folder, waits_for_others=options.job is not None)
    return 1 if outcome.failed or outcome.skipped else 0


def _forget(options: argparse.Namespace, folder: Path) -> int:
    from nnunet_genesis.benchmark.forgetting import forget_pending
    from nnunet_genesis.benchmark.run_folder import RUNS

    asks_for_more = {
        "--initialisation": options.initialisations,
        "--labelled": options.labelled,
        "--schedules": options.schedules,
        "--seeds": options.seeds,
        "--dry-run": options.dry_run,
        "--job": options.job,
        "--retry-failed": options.retry_failed,
    }
    more = [flag for flag, value in asks_for_more.items() if value]
    if more:
        raise SetupError(
            f"--forget-pending with {', '.join(more)}: it forgets all runs that have not begun, and trains nothing",
            mend="run it without them, and then the command that you meant",
        )
    told = forget_pending(folder, shlex.join(["genesis", *sys.argv[1:]]))
    lines = [f"forgotten, it had not begun: {name}" for name in told.runs]
    lines += [f"forgotten, no run is left of it: --initialisation {name}" for name in told.initialisations]
    lines += [f"kept: {name}: {reason}" for name, reason in told.kept.items()]
    if told.kept:
        lines.append(f"to have one of these forgotten, too, delete its folder in {folder / RUNS} first")
    if not told.runs:
        lines.append("nothing is forgotten: there is no run that has not begun")
    sys.stdout.write("\n".join([*lines, ""]) + "\n")
    return _report(told.record, folder)


def _report(record: Record, folder: Path, *, waits_for_others: bool = False) -> int:
    from nnunet_genesis.benchmark.collect import collect, list_reports
    from nnunet_genesis.benchmark.overview import describe_failures, describe_runs
    from nnunet_genesis.benchmark.record import locked_report, read_record
    from nnunet_genesis.benchmark.report import write_report
    from nnunet_genesis.benchmark.run_folder import State

    with locked_report(folder):
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
    from nnunet_genesis.benchmark.initialisations import PRETRAINING_PREFIX
    from nnunet_genesis.benchmark.planning import TEST_CASES_FILE
    from nnunet_genesis.benchmark.record import LOCK_FILE, RECORD_FILE
    from nnunet_genesis.files import PART_SUFFIX
    from nnunet_genesis.folders import refuse_used_folder

    if options.output is not None and options.name is not None:
        raise SetupError("--name and --output both say where the benchmark is", mend="leave one of them out")
    if options.name is not None and not re.fullmatch(r"[\w.-]+", options.name):
        raise SetupError(
            f"--name '{options.name}' cannot be part of a folder's name", mend="letters, digits, _, - and ."
        )
    default = "__".join(["GenesisBenchmark", planned.plans_name, planned.configuration, *filter(None, [options.name])])
    folder: Path = options.output or planned.results_folder / default
    # Another job may be beginning the same benchmark: its record comes after what is listed here.
    entries = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    others = {
        name
        for name in entries
        if not (name.startswith(".") and name.endswith(PART_SUFFIX)) and not name.startswith(PRETRAINING_PREFIX)
    }
    if not others <= {TEST_CASES_FILE, LOCK_FILE} and not (folder / RECORD_FILE).is_file():
        refuse_used_folder(folder, "the benchmark")
    return folder


def _require(record: Record | None, folder: Path) -> Record:
    if record is None:
        raise SetupError(
            "there is no benchmark here", where=folder, mend="name its folder by --name or --output, or begin one"
        )
    return record
