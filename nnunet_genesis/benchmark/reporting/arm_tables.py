"""The tables of a report with a row per arm: scores, labels and epochs needed, and what was missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.figures.style import SHORT_NAMES
from nnunet_genesis.benchmark.reporting import numbers_in_words as words
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.statistics.comparison import Arm, arms_of, score_arms
from nnunet_genesis.report_page import Table
from nnunet_genesis.trainers.schedules import STANDARD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.benchmark.statistics.convergence import Convergence
    from nnunet_genesis.benchmark.statistics.metric_table import MetricTable
    from nnunet_genesis.benchmark.statistics.savings import LabelSaving


def score_table(tables: Mapping[tuple[str, str], MetricTable]) -> Table:
    """Mean of every arm, a column per metric and class."""
    scores = {place: score_arms(table) for place, table in tables.items()}
    arms = sorted({arm for found in scores.values() for arm in found}, key=_order)
    names = [f"{SHORT_NAMES.get(metric, metric)}, {label}" for metric, label in scores]
    rows = [
        (
            *arm.in_words(),
            *(words.score(found[arm].mean, metric) if arm in found else "" for (metric, _), found in scores.items()),
        )
        for arm in arms
    ]
    return Table((("initialisation", "schedule", "labelled", *names), *rows), words=(1,))


def saving_table(savings: Sequence[LabelSaving]) -> Table:
    """How many labelled cases are enough for what scratch reaches with the most; saved is only what is shown."""
    head = ("initialisation", "schedule", "scratch with", "reached from", "95 % interval", "labels saved")
    rows = [
        (
            one.initialisation,
            one.schedule,
            str(one.most),
            _number(one.reached),
            _ends(one),
            _saved(one),
        )
        for one in savings
    ]
    return Table((head, *rows), words=(1,))


def convergence_table(entries: Sequence[Convergence]) -> Table:
    """After how many epochs scratch's end is reached."""
    head = (
        "initialisation",
        "schedule",
        "labelled",
        "scratch's end (pseudo Dice)",
        "epochs of scratch",
        "reached after",
        "share of its epochs",
        "each training",
    )
    rows = [
        (
            *one.arm.in_words(),
            words.score(one.target, "dice"),
            str(one.epochs),
            _number(one.reached),
            "" if one.reached is None else words.share(one.reached / one.epochs),
            ", ".join("-" if epoch is None else str(epoch) for epoch in one.by_seed.values()),
        )
        for one in sorted(entries, key=lambda one: _order(one.arm))
    ]
    return Table((head, *rows), words=(1, 7))


def missed_table(tables: Mapping[tuple[str, str], MetricTable]) -> Table | None:
    """How often a class was missed, or found where it is not; None where neither ever happened."""
    rows = []
    for (_, label), table in tables.items():
        for arm, runs in sorted(arms_of(table.values).items(), key=lambda entry: _order(entry[0])):
            missed = sum(table.missed[run] for run in runs)
            wrong = sum(table.wrongly_found[run] for run in runs)
            if missed or wrong:
                present, absent = len(table.cases) * len(runs), len(table.absent) * len(runs)
                told = (f"{missed} of {present}", f"{wrong} of {absent}" if absent else "-")
                rows.append((label, *arm.in_words(), *told))
    head = ("class", "initialisation", "schedule", "labelled", "missed altogether", "found where it is not")
    return Table((head, *rows), words=(1, 2)) if rows else None


def _order(arm: Arm) -> tuple[bool, str, int, bool, str]:
    """By schedule and number of labelled cases, so that what is compared stands together, scratch first."""
    return arm.schedule != STANDARD, arm.schedule, arm.labelled, arm.initialisation != SCRATCH, arm.initialisation


def _saved(one: LabelSaving) -> str:
    if one.reached is None:
        return "none"
    if one.latest is None or one.earliest is None:
        return "not shown"
    bounds = (words.share(1 - number / one.most) for number in (one.latest, one.earliest))
    return f"{words.share(one.saved)} ({' to '.join(bounds)})"


def _ends(one: LabelSaving) -> str:
    if not one.over_runs and None in (one.earliest, one.latest):
        return "not known (one seed)"
    return f"{_number(one.earliest)} to {_number(one.latest)}"


def _number(value: int | None) -> str:
    return "not reached" if value is None else str(value)
