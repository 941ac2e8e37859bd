"""From what is asked for to the list of trainings, checked before the first of them and kept in the folder."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nnunet_genesis.benchmark.initialisations import examine, pretraining_command, refuse_other_files
from nnunet_genesis.benchmark.record import Record, locked, read_record, write_record
from nnunet_genesis.benchmark.runs import Length, Run, Subset, control_of, is_full, list_runs, parse_schedule
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.scoring import read_labels
from nnunet_genesis.benchmark.settings import PER_SEED, refuse_other_settings
from nnunet_genesis.benchmark.subsets import ALL, Amount, TestSet, draw_labelled, parse_amount
from nnunet_genesis.benchmark.training import now
from nnunet_genesis.benchmark.workspace import make_workspace
from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.machine import accelerator_name, processor_name
from nnunet_genesis.trainers.schedules import STANDARD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.benchmark.initialisations import Candidate
    from nnunet_genesis.benchmark.settings import BenchmarkSettings
    from nnunet_genesis.plans import PlannedConfiguration

TEST_CASES_FILE = "test_cases.txt"
DEFAULT_LABELLED = ("5", "10", "20", "50", ALL)
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
    labels = read_labels(json.loads((planned.dataset_folder / "dataset.json").read_text()))
    record = before or Record(settings, labels, provenance=_provenance(planned))
    known = list(record.runs.values())
    length = Length(settings.epochs, settings.iterations)
    names = [candidate.name for candidate in axes.initialisations] or sorted(record.initialisations)
    used = [run.key.schedule for run in known if run.key.initialisation != SCRATCH or not record.initialisations]
    schedules = [parse_schedule(text, length) for text in axes.schedules or _unique(used) or DEFAULT_SCHEDULES]
    seeds = list(dict.fromkeys(axes.seeds or _unique(run.key.seed for run in known) or DEFAULT_SEEDS))
    if min(seeds) < 0:
        raise SetupError(f"--seeds {min(seeds)}: a seed must not be negative", mend="--seeds 0 1 2")
    texts = axes.labelled or _unique(text for subset in record.subsets for text in subset.asked)
    amounts = [parse_amount(text) for text in texts] or _default_amounts(settings)
    subsets, notes = _extend_subsets(record, settings, amounts, seeds)
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
    """Check the pretrained files, and keep the plan in the folder; nothing is written where anything is refused.

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
        for candidate in axes.initialisations
    }
    with locked(folder):
        current = read_record(folder)
        if current is not None:
            refuse_other_settings(current.settings, settings, folder)
            refuse_other_files(current.initialisations, told)
        plan = make_plan(settings, axes, planned, current)
        plan.record.initialisations |= told
        plan.record.provenance.setdefault("invocations", []).append(
            {"when": now(), "command": command, "host": platform.node()}
        )
        make_workspace(folder, planned, plan.record.subsets, settings.test_cases)
        write_record(plan.record, folder)
    return plan


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
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(file)
    return file


def _default_amounts(settings: BenchmarkSettings) -> list[Amount]:
    """The usual numbers, as far as there are so many cases."""
    available = len(settings.groups) - len(settings.test_cases) - len(settings.left_out)
    return [parse_amount(text) for text in DEFAULT_LABELLED if text == ALL or int(text) < available]


def _extend_subsets(
    record: Record, settings: BenchmarkSettings, amounts: Sequence[Amount], seeds: Sequence[int]
) -> tuple[list[Subset], list[str]]:
    """Add the subsets that are new to the record; returns those asked for."""
    test_set = TestSet(settings.test_cases, settings.left_out)
    per_seed = settings.subset_draws == PER_SEED
    available = len(settings.groups) - len(test_set.cases) - len(test_set.left_out)
    wanted: list[int] = []
    notes: list[str] = []
    for draw in seeds if per_seed else (0,):
        drawn = draw_labelled(settings.groups, test_set, amounts, seed=settings.subset_seed, draw=draw)
        for amount, cases in drawn.items():
            labelled = amount.count(available) if per_seed else len(cases)
            if len(cases) != amount.count(available):
                told = f" (draw {draw})" if per_seed else ""
                notes.append(f"--labelled {amount.text}: {len(cases)} cases{told}, because groups are not divided")
            wanted.append(_find_or_add(record, labelled, draw, amount.text, cases))
    return [record.subsets[number] for number in _unique(wanted)], notes


def _find_or_add(record: Record, labelled: int, draw: int, asked: str, cases: tuple[str, ...]) -> int:
    """Number of the subset among those of the record."""
    for number, subset in enumerate(record.subsets):
        if (subset.labelled, subset.draw) == (labelled, draw):
            if subset.cases != cases:
                raise DataError(
                    f"this version of nnunet-genesis draws other {labelled} labelled cases than the benchmark was begun"
                    " with",
                    mend="go on with that version, or begin another benchmark with --name",
                )
            record.subsets[number] = replace(subset, asked=tuple(_unique([*subset.asked, asked])))
            return number
    record.subsets.append(Subset(len(record.subsets), labelled, draw, (asked,), cases))
    return len(record.subsets) - 1


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
