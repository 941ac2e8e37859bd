"""Every pretraining beside scratch with the same labelled cases and the same schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.benchmark.statistics.interval import Interval, crossed_interval, hierarchical_bootstrap
from nnunet_genesis.benchmark.statistics.significance import holm, wilcoxon_p
from nnunet_genesis.trainers.schedules import STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from nnunet_genesis.benchmark.scores import RunKey
    from nnunet_genesis.benchmark.statistics.metric_table import MetricTable


@dataclass(frozen=True)
class Arm:
    """All trainings that differ in nothing but their seed."""

    initialisation: str
    labelled: int
    schedule: str

    def in_words(self) -> tuple[str, str, str]:
        """The cells of a table that name it: initialisation, schedule, labelled cases."""
        return self.initialisation, self.schedule, str(self.labelled)


@dataclass(frozen=True)
class ArmScore:
    """What one arm reached.

    Attributes:
        seeds: Of its trainings, sorted.
        mean: Mean over groups and trainings.
        deviation: Standard deviation of the trainings' means, run to run; NaN with one seed.
        missed: In how many cases, over all trainings, nothing of the class was found (see `MetricTable`).
    """

    seeds: tuple[int, ...]
    mean: float
    deviation: float
    missed: int


@dataclass(frozen=True)
class Comparison:
    """One pretraining beside scratch, on the same test cases.

    Attributes:
        arm: The pretrained one.
        metric: What was measured.
        label: The class, or the mean of classes.
        larger_is_better: Of the metric.
        pretrained: Its score, over the trainings that are compared.
        scratch: That of scratch with the same labelled cases and schedule.
        groups: Names of the groups (patients).
        by_group: Mean difference of each group, pretrained minus scratch.
        interval: Mean difference with its interval, over patients and trainings.
        bootstrap: Ends of the hierarchical bootstrap's interval.
        wilcoxon: p-value over the groups' differences, for these trainings.
        paired: Whether trainings with the same seed were compared.
        family: Number of comparisons that the corrected p-values below are corrected for.
        interval_holm: The interval's p-value, corrected.
        wilcoxon_holm: Wilcoxon's, corrected.
    """

    arm: Arm
    metric: str
    label: str
    larger_is_better: bool
    pretrained: ArmScore
    scratch: ArmScore
    groups: tuple[str, ...]
    by_group: tuple[float, ...]
    interval: Interval
    bootstrap: tuple[float, float]
    wilcoxon: float
    paired: bool
    family: int = 1
    interval_holm: float = np.nan
    wilcoxon_holm: float = np.nan


def arms_of(runs: Iterable[RunKey]) -> dict[Arm, list[RunKey]]:
    """Gather trainings that differ in nothing but their seed; scratch and the standard schedule first, by labels."""

    def order(run: RunKey) -> tuple[bool, str, bool, str, int, int]:
        schedule = run.schedule
        return (
            run.initialisation != SCRATCH,
            run.initialisation,
            schedule != STANDARD,
            schedule,
            run.labelled,
            run.seed,
        )

    arms: dict[Arm, list[RunKey]] = {}
    for run in sorted(runs, key=order):
        arms.setdefault(Arm(run.initialisation, run.labelled, run.schedule), []).append(run)
    return arms


def score_arms(table: MetricTable) -> dict[Arm, ArmScore]:
    """Mean and run-to-run deviation of every arm."""
    return {arm: _score(table, runs) for arm, runs in arms_of(table.values).items()}


def _score(table: MetricTable, runs: Sequence[RunKey]) -> ArmScore:
    means = table.by_group(runs).mean(axis=1)
    deviation = float(means.std(ddof=1)) if len(runs) > 1 else np.nan
    missed = sum(table.missed[run] for run in runs)
    return ArmScore(tuple(run.seed for run in runs), float(means.mean()), deviation, missed)


def compare(table: MetricTable, *, paired: bool) -> list[Comparison]:
    """Compare every pretrained arm with its scratch.

    The family of Holm's correction is all that is returned: every initialisation, number of labelled cases and schedule
    for one metric and one class.

    Args:
        table: Scores of one metric and class.
        paired: Whether trainings with the same seed share labelled cases that others do not have; then only seeds count
            that both arms have.
    """
    arms = arms_of(table.values)
    comparisons = []
    for arm in arms:
        control = Arm(SCRATCH, arm.labelled, arm.schedule)
        if arm.initialisation == SCRATCH or control not in arms:
            continue
        our_runs, their_runs = matched_runs(arms[arm], arms[control], paired=paired)
        if not our_runs:
            continue
        ours, theirs = table.by_group(our_runs), table.by_group(their_runs)
        by_group = ours.mean(axis=0) - theirs.mean(axis=0)
        comparisons.append(
            Comparison(
                arm=arm,
                metric=table.metric,
                label=table.label,
                larger_is_better=table.larger_is_better,
                pretrained=_score(table, our_runs),
                scratch=_score(table, their_runs),
                groups=table.group_names,
                by_group=tuple(by_group.tolist()),
                interval=crossed_interval(ours, theirs, paired=paired),
                bootstrap=hierarchical_bootstrap(ours, theirs, paired=paired),
                wilcoxon=wilcoxon_p(by_group),
                paired=paired,
            )
        )
    interval_holm = holm([entry.interval.p for entry in comparisons])
    wilcoxon_holm = holm([entry.wilcoxon for entry in comparisons])
    return [
        replace(entry, family=len(comparisons), interval_holm=first, wilcoxon_holm=second)
        for entry, first, second in zip(comparisons, interval_holm, wilcoxon_holm, strict=True)
    ]


def matched_scores(
    table: MetricTable, arm: Arm, control: Arm, *, paired: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of two arms, each of shape (runs, groups); with `paired` of the seeds that both have, in one order."""
    arms = arms_of(table.values)
    ours, theirs = matched_runs(arms[arm], arms[control], paired=paired)
    return table.by_group(ours), table.by_group(theirs)


def matched_runs(
    ours: Sequence[RunKey], theirs: Sequence[RunKey], *, paired: bool
) -> tuple[list[RunKey], list[RunKey]]:
    """Trainings of two arms; with `paired` those of the seeds that both have, in one order."""
    common = {run.seed for run in ours} & {run.seed for run in theirs}
    first, second = ([run for run in runs if not paired or run.seed in common] for runs in (ours, theirs))
    return first, second
