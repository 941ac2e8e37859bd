"""The tables of a report with a row per comparison with scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.figures.style import SHORT_NAMES
from nnunet_genesis.benchmark.reporting import numbers_in_words as words
from nnunet_genesis.benchmark.statistics.verdict import explain
from nnunet_genesis.report_page import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.benchmark.statistics.comparison import Comparison


def verdict_table(comparisons: Sequence[Comparison]) -> Table:
    """What is shown, a row per comparison with scratch."""
    head = (
        "initialisation",
        "schedule",
        "labelled",
        "what is shown",
        "gain",
        "95 % interval",
        "scratch, run to run",
        "scratch",
        "pretrained",
        "p (Holm)",
        "Wilcoxon p (Holm)",
        "seeds",
    )
    rows = [
        (
            *entry.arm.in_words(),
            explain(entry),
            words.change(entry.interval.difference, entry.metric),
            words.interval(entry.interval.low, entry.interval.high, entry.metric),
            _deviation(entry.scratch.deviation, entry.metric),
            words.score(entry.scratch.mean, entry.metric),
            words.score(entry.pretrained.mean, entry.metric),
            words.p_value(entry.interval_holm),
            words.p_value(entry.wilcoxon_holm),
            _seeds(entry),
        )
        for entry in comparisons
    ]
    return Table((head, *rows), words=(1, 3))


def detail_table(comparisons: Sequence[Comparison]) -> Table:
    """What stands behind the verdicts, before any correction."""
    head = (
        "initialisation",
        "schedule",
        "labelled",
        "gain",
        "95 % interval",
        "hierarchical bootstrap",
        "p",
        "Wilcoxon p",
        "patients better",
    )
    rows = [
        (
            *entry.arm.in_words(),
            words.change(entry.interval.difference, entry.metric),
            words.interval(entry.interval.low, entry.interval.high, entry.metric),
            words.interval(*entry.bootstrap, entry.metric),
            words.p_value(entry.interval.p),
            words.p_value(entry.wilcoxon),
            f"{_better(entry)} of {len(entry.by_group)}",
        )
        for entry in comparisons
    ]
    return Table((head, *rows), words=(1,))


def other_comparisons_table(families: Mapping[tuple[str, str], Sequence[Comparison]]) -> Table:
    """Metrics and classes beside the headline, a row per comparison."""
    head = (
        "metric",
        "class",
        "initialisation",
        "schedule",
        "labelled",
        "gain",
        "95 % interval",
        "scratch, run to run",
        "p (Holm)",
        "what is shown",
    )
    rows = [
        (
            SHORT_NAMES.get(metric, metric),
            label,
            *entry.arm.in_words(),
            words.change(entry.interval.difference, metric),
            words.interval(entry.interval.low, entry.interval.high, metric),
            _deviation(entry.scratch.deviation, metric),
            words.p_value(entry.interval_holm),
            explain(entry),
        )
        for (metric, label), family in families.items()
        for entry in family
    ]
    return Table((head, *rows), words=(1, 2, 3, 9))


def _deviation(value: float, metric: str) -> str:
    found = words.score(value, metric)
    return found if found == words.NOT_KNOWN else f"± {found}"


def _seeds(entry: Comparison) -> str:
    ours, theirs = len(entry.pretrained.seeds), len(entry.scratch.seeds)
    return str(ours) if ours == theirs else f"{ours} and {theirs}"


def _better(entry: Comparison) -> int:
    return sum((value > 0) == entry.larger_is_better for value in entry.by_group if value)
