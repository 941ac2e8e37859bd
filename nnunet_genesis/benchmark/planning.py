"""From what is asked for to the list of trainings, checked before the first of them and kept in the folder."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.benchmark.candidates import Candidate
from nnunet_genesis.benchmark.classes import find_absent_classes
from nnunet_genesis.benchmark.initialisations import examine, pretraining_command, refuse_other_files
from nnunet_genesis.benchmark.labelled import default_amounts, extend_subsets
from nnunet_genesis.benchmark.record import Record, locked, read_record, write_record
from nnunet_genesis.benchmark.runs import Length, Run, control_of, is_full, list_runs, parse_schedule
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.scoring import read_labels
from nnunet_genesis.benchmark.settings import PER_SEED, refuse_other_settings
from nnunet_genesis.benchmark.statistics.metric_table import MEAN_OF_CLASSES
from nnunet_genesis.benchmark.subsets import parse_amount
from nnunet_genesis.benchmark.training import now
from nnunet_genesis.benchmark.workspace import make_workspace
from nnunet_genesis.errors import SetupError
from nnunet_genesis.files import replacing
from nnunet_genesis.machine import accelerator_name, processor_name
from nnunet_genesis.plans_files import read_dataset_json
from nnunet_genesis.trainers.schedules import STANDARD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.benchmark.settings import BenchmarkSettings
    from nnunet_genesis.plans import PlannedConfiguration

TEST_CASES_FILE = "test_cases.txt"
DEFAULT_SCHEDULES = (STANDARD,)
DEFAULT_SEEDS = (0, 1, 2)
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True)
class Axes:
    """What is crossed; empty where the user names nothing.

    Attributes:
        initialisations: Pretrained files.
        labelled: Numbers of labelled cases, as the user writes them.
        schedules: Parts of trainer names.
        seeds: Of the trainings.
    """

    initialisations: Sequence[Candidate] = ()
    labelled: Sequence[str] = ()
    schedules: Sequence[str] = ()
    seeds: Sequence[int] = ()


@dataclass
class Plan:
    """What is to be run.

    Attributes:
        record: The benchmark with what is new.
        runs: Asked for now, in the order of running.
        notes: What the user should know of it.
    """

    record: Record
    runs: list[Run]
    notes: list[str] = field(default_factory=list)


def make_plan(settings: BenchmarkSettings, axes: Axes, planned: PlannedConfiguration, before: Record | None) -> Plan:
    """Cross what is asked for, without reading files or writing any.

    Args:
        settings: What all runs share.
        axes: What is asked for; what is not named is what the benchmark has already, else the default.
        planned: The dataset.
        before: What the folder holds.

    Raises:
        SetupError: If something asked for does not exist.
    """
    description = planned.dataset_folder / "dataset.json"
    labels = read_labels(read_dataset_json(description))
    if before is None and MEAN_OF_CLASSES in labels:
        raise SetupError(
            f"a class has the name '{MEAN_OF_CLASSES}', by which tables and the verdict know the mean of all classes",
            where=description,
            mend="give it another name there and in nnUNet_raw: trainings do not depend on the names of classes",
        )
    record = before or Record(settings, labels, provenance=_provenance(planned))
    known = list(record.runs.values())
    length = Length(settings.epochs, settings.iterations)
    names = [candidate.name for candidate in axes.initialisations] or sorted(record.initialisations)
    # Earlier versions did not keep what was asked for.
    used = [run.key.schedule for run in known if run.key.initialisation != SCRATCH or not record.initialisations]
    asked = record.schedules or _unique(used)
    schedules = [parse_schedule(text, length) for text in axes.schedules or asked or DEFAULT_SCHEDULES]
    record.schedules = _unique([*asked, *schedules])
    seeds = list(dict.fromkeys(axes.seeds or _unique(run.key.seed for run in known) or DEFAULT_SEEDS))
    if min(seeds) < 0:
        raise SetupError(f"--seeds {min(seeds)}: a seed must not be negative", mend="--seeds 0 1 2")
    texts = axes.labelled or _unique(text for subset in record.subsets for text in subset.asked)
    amounts = [parse_amount(text) for text in texts] or default_amounts(settings)
    subsets, notes = extend_subsets(record, settings, amounts, seeds)
    for subset in subsets:
        absent = find_absent_classes(planned.cases_folder, subset.cases, labels)
        if absent:
            notes.append(
                f"no case of the subset of {subset.labelled} (fold {subset.fold}) has the class {', '.join(absent)},"
                " and nothing can learn them from it; another --subset-seed draws other cases"
            )
    per_seed = settings.subset_draws == PER_SEED
    asked_anew = axes.initialisations or axes.labelled or axes.schedules or axes.seeds or not known
    runs = list_runs(names, subsets, _unique(schedules), seeds, length, draw_per_seed=per_seed) if asked_anew else known
    for run in runs:
        record.runs.setdefault(run.identifier, run)
        schedule = run.key.schedule
        if run.key.initialisation != SCRATCH and control_of(schedule) != schedule:
            record.same_control[schedule] = control_of(schedule)
    if not names:
        notes.append("no --initialisation is named: only training from scratch is run")
    if settings.left_out:
        notes.append(
            f"{len(settings.left_out)} case(s) are neither tested nor trained on: others of their groups are test cases"
        )
    return Plan(record, runs, notes)


def commit_plan(
    plan: Plan,
    axes: Axes,
    folder: Path,
    planned: PlannedConfiguration,
    *,
    trust: bool,
    command: str,
) -> Plan:
    """Check the pretrained files, and keep the plan in the folder.

    Where a file is refused, nothing is written but the list of test cases, by which it can be pretrained anew.

    Another process may have added to the benchmark meanwhile: what it added stays.

    Args:
        plan: What is to be run.
        axes: What was asked for.
        folder: Of the benchmark.
        planned: The dataset.
        trust: Whether to take files for clean that do not tell all of what they saw.
        command: The command line, for the record.

    Raises:
        GenesisError: If a file may not take part.
    """
    settings = plan.record.settings
    with locked(folder):
        exclude_file = write_test_cases(folder, settings, planned)
    full = any(is_full(run.key.schedule) for run in plan.runs)
    told = {
        candidate.name: examine(
            candidate, planned, settings, full=full, trust=trust, exclude_file=exclude_file.absolute()
        )
        for candidate in [*axes.initialisations, *_without_decoder_share(plan, axes)]
    }
    with locked(folder):
        current = read_record(folder)
        if current is not None:
            refuse_other_settings(current.settings, settings, folder)
            refuse_other_files(current.initialisations, told)
        plan = make_plan(settings, axes, planned, current)
        for name, facts in told.items():
            plan.record.initialisations[name] = {**plan.record.initialisations.get(name, {}), **facts}
        plan.record.note_invocation(command)
        write_record(plan.record, folder)  # first: by it a stopped command, and other jobs, know the folder
        make_workspace(folder, planned, plan.record.subsets, settings.test_cases)
    return plan


def _without_decoder_share(plan: Plan, axes: Axes) -> list[Candidate]:
    """Files of which nobody knows yet whether they have a decoder: they came before a schedule that loads it."""
    asked = {run.key.initialisation for run in plan.runs if is_full(run.key.schedule)}
    named = {candidate.name for candidate in axes.initialisations}
    return [
        Candidate(name, str(told["address"]), Path(told["file"]))
        for name, told in plan.record.initialisations.items()
        if name in asked - named and "share_of_decoder" not in told
    ]


def write_test_cases(folder: Path, settings: BenchmarkSettings, planned: PlannedConfiguration) -> Path:
    """Write the list of what no pretraining may see; ``genesis-pretrain-nnunet --exclude`` reads it."""
    file = folder / TEST_CASES_FILE
    lines = [
        f"# Held out by the benchmark of {settings.dataset} ({settings.plans}, {settings.configuration}): the test set",
        "# and all other cases of its groups. No pretraining that is compared may see these:",
        f"#   {pretraining_command(planned, file.absolute())}",
        *settings.test_cases,
        *settings.left_out,
    ]
    with replacing(file) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _provenance(planned: PlannedConfiguration) -> dict[str, Any]:
    return {
        **{name: os.environ.get(name) for name in _VARIABLES},
        "dataset_folder": str(planned.dataset_folder.absolute()),
        "begun": now(),
        "host": platform.node(),
        "processor": processor_name(),
        "accelerator": accelerator_name(),
    }


def _unique(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))
