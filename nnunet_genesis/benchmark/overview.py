"""A benchmark in lines for the terminal: what is held out, what is trained on, and how every training stands."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.progress import describe_duration, describe_time, expected_seconds
from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.benchmark.settings import FIXED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.benchmark.collect import RunReport
    from nnunet_genesis.benchmark.record import Record

_LAST_LINES = 3


def describe_data(record: Record) -> list[str]:
    """Test set and subsets."""
    settings = record.settings
    groups = len(set(settings.groups.values()))
    lines = [
        f"{settings.dataset}, {settings.plans}, {settings.configuration}: {len(settings.groups)} cases in {groups}"
        " groups",
        f"test set: {len(settings.test_cases)} cases"
        + (f" ({len(settings.left_out)} others of their groups are left out)" if settings.left_out else ""),
    ]
    for subset in record.asked_subsets:
        drawn = "" if settings.subset_draws == FIXED else f", draw {subset.draw}"
        lines.append(f"labelled {', '.join(subset.asked)}: {len(subset.cases)} cases (fold {subset.fold}{drawn})")
    return lines


def describe_runs(
    asked: Sequence[RunReport], everything: Sequence[RunReport], by_logs: float | None = None
) -> list[str]:
    """A line per training that is asked for, and the time that is left.

    Args:
        asked: The trainings.
        everything: All of the benchmark, by whose finished ones the time is told.
        by_logs: See `seconds_by_logs`; counts where none has finished.
    """
    expected = expected_seconds(everything)
    if expected is not None:
        told = describe_duration(expected)
    elif by_logs is None:
        told = "unknown until nnU-Net has trained an epoch with these plans: begin, stop after it, and ask again"
    else:
        expected = by_logs
        told = f"{describe_duration(by_logs)} and its predictions, by nnU-Net's logs of earlier epochs with these plans"
    width = max((len(report.run.identifier) for report in asked), default=0)
    lines = []
    for report in asked:
        if report.state is State.FINISHED:
            note = f"{describe_time(report.seconds)}, mean Dice {report.record.get('mean_dice')}"
        else:
            note = report.record.get("problem", "") if report.state is State.FAILED else f"-tr {report.run.trainer}"
        lines.append(f"{report.run.identifier:<{width}}  {report.state.value:<11}  {note}".rstrip())
    counts = Counter(report.state for report in asked)
    left = len(asked) - counts[State.FINISHED] - counts[State.FAILED]
    told_counts = ", ".join(f"{count} {state.value}" for state, count in counts.items())
    lines.append(f"{len(asked)} runs: {told_counts}" if asked else "no run is planned")
    lines.append(f"expected time of a run: {told}")
    if expected is not None and left:
        lines.append(
            f"expected time of the {left} that are left, one after the other: {describe_duration(left * expected)}"
        )
    return lines


def describe_failures(reports: Sequence[RunReport]) -> list[str]:
    """Why trainings failed, with the last lines of their logs."""
    lines = []
    for report in reports:
        if report.state is State.FAILED:
            lines.append(f"FAILED {report.run.identifier}: {report.record.get('problem', '')}")
            lines += [f"    {line}" for line in report.record.get("last_lines", [])[-_LAST_LINES:]]
    return lines
