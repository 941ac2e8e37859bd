"""One metric of one class of every test case and every training, ready to be compared."""

from __future__ import annotations

import logging
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from nnunet_genesis.benchmark.scores import CaseScore, RunKey

    _Scores: TypeAlias = dict[tuple[RunKey, str], CaseScore]

LOGGER = logging.getLogger("nnunet_genesis")
MEAN_OF_CLASSES = "mean of classes"
DICE = "dice"
LARGER_IS_BETTER = {DICE: True, "nsd": True, "hd95": False}


@dataclass(frozen=True)
class MetricTable:
    """What was measured, after what is not defined was dealt with (docs/benchmark_statistics.md).

    Attributes:
        metric: As in `CaseScore`.
        label: Name of the class, or `MEAN_OF_CLASSES`.
        cases: Names of the test cases whose reference has the class, sorted.
        groups: Of every case its group, e.g. the patient.
        values: Of every complete training a finite value per case, shape (cases,).
        missed: Of every training in how many of the cases nothing of the class was found: the Dice is 0.
        absent: Cases that are left out because their reference lacks the class.
        wrongly_found: Of every training in how many of the absent cases it predicted the class.
        incomplete: Trainings that are left out because cases are missing.
    """

    metric: str
    label: str
    cases: tuple[str, ...]
    groups: tuple[str, ...]
    values: dict[RunKey, NDArray[np.float64]]
    missed: dict[RunKey, int]
    absent: tuple[str, ...]
    wrongly_found: dict[RunKey, int]
    incomplete: tuple[RunKey, ...]

    @property
    def larger_is_better(self) -> bool:
        """Whether a larger value is better."""
        return LARGER_IS_BETTER.get(self.metric, True)

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups, each once, sorted: the columns of `by_group`."""
        return tuple(sorted(set(self.groups)))

    def by_group(self, runs: Sequence[RunKey]) -> NDArray[np.float64]:
        """Mean over the cases of each group, so that a patient with many scans counts once: shape (runs, groups)."""
        names = np.array(self.groups)
        values = np.array([self.values[run] for run in runs]).reshape(len(runs), len(names))
        columns = [values[:, names == name].mean(axis=1) for name in self.group_names]
        return np.stack(columns, axis=1)


def build_tables(scores: Iterable[CaseScore]) -> dict[tuple[str, str], MetricTable]:
    """Sort scores by metric and class, and add the mean of the classes where there are several.

    Where the reference of a case lacks a class, the case is left out for all trainings, whatever they predicted there.
    Scores of earlier versions do not tell it: there it is told by a Dice that is not defined for one of the trainings,
    and where all of them have a Dice of 0, a warning says that it is not known.

    Nothing else is left out: a value that is not finite although the reference has the class counts as the worst there
    is, 0 for Dice and surface distance, for a distance in mm the largest one of that class in the benchmark. (`genesis
    benchmark` writes no such value: where nothing was predicted, its HD95 is the diagonal of the image.)

    Returns:
        Tables by metric and class, a metric's mean first; for a class that no case has, none.
    """
    by_place: dict[tuple[str, str], dict[tuple[RunKey, str], CaseScore]] = {}
    for score in scores:
        by_place.setdefault((score.metric, score.label), {})[score.run, score.case] = score
    tables = {}
    for place, found in by_place.items():
        table = _build_table(*place, found, by_place.get((DICE, place[1]), {}))
        if table is not None:
            tables[place] = table
    ordered = {}
    for metric in dict.fromkeys(metric for metric, _ in tables):
        classes = {place: table for place, table in tables.items() if place[0] == metric}
        if len(classes) > 1:
            ordered[metric, MEAN_OF_CLASSES] = _mean_table(list(classes.values()))
        ordered |= classes
    return ordered


def _build_table(metric: str, label: str, found: _Scores, dice: _Scores) -> MetricTable | None:
    groups = {score.case: score.group for score in found.values()}
    absent = sorted(_find_absent(metric, label, found, dice) & groups.keys())
    cases = sorted(groups.keys() - set(absent))
    worst = _worst(metric, [score.value for score in found.values()])
    if not cases or math.isnan(worst):
        return None
    values, missed, wrongly_found, incomplete = {}, {}, {}, []
    for run in sorted({run for run, _ in found}):
        if any((run, case) not in found for case in groups):
            incomplete.append(run)
            continue
        row = np.array([found[run, case].value for case in cases])
        missed[run] = sum((run, case) in dice and dice[run, case].value == 0 for case in cases)
        wrongly_found[run] = sum(not math.isnan(found[run, case].value) for case in absent)
        values[run] = np.where(np.isfinite(row), row, worst)
    return MetricTable(
        metric=metric,
        label=label,
        cases=tuple(cases),
        groups=tuple(groups[case] for case in cases),
        values=values,
        missed=missed,
        absent=tuple(absent),
        wrongly_found=wrongly_found,
        incomplete=tuple(incomplete),
    )


def _find_absent(metric: str, label: str, found: _Scores, dice: _Scores) -> set[str]:
    """Names of the cases whose reference lacks the class."""
    told = {
        score.case: score.in_reference
        for score in (*found.values(), *dice.values())
        # The reference is the same for all trainings, those that an earlier version scored among them.
        if score.in_reference is not None
    }
    values: dict[str, list[float]] = {}
    for score in dice.values():
        if score.case not in told:
            values.setdefault(score.case, []).append(score.value)
    unknown = sorted(case for case, own in values.items() if not any(own))
    if unknown and metric == DICE:
        LOGGER.warning(
            "%s: the Dice of all trainings is 0 in %d case(s), the first is %s, and scores of an earlier version do not"
            " tell whether their references have it. They count as missed. To have it told, delete the scores.csv of a"
            " run that has its checkpoint_final.pth, and run `genesis benchmark` again",
            label,
            len(unknown),
            unknown[0],
        )
    lacking = {case for case, is_there in told.items() if not is_there}
    return lacking | {case for case, own in values.items() if any(map(math.isnan, own))}


def _worst(metric: str, values: list[float]) -> float:
    """Return what a miss counts as; NaN where no distance was measured at all."""
    if LARGER_IS_BETTER.get(metric, True):
        return 0.0
    return max((value for value in values if math.isfinite(value)), default=math.nan)


def _mean_table(classes: list[MetricTable]) -> MetricTable:
    """Mean, case by case, over the classes that the case's reference has."""
    groups = {case: group for table in classes for case, group in zip(table.cases, table.groups, strict=True)}
    cases = sorted(groups)
    runs = [run for run in classes[0].values if all(run in table.values for table in classes)]
    missed: Counter[RunKey] = Counter()
    wrongly_found: Counter[RunKey] = Counter()
    for table in classes:
        missed.update(table.missed)
        wrongly_found.update(table.wrongly_found)
    values = {}
    for run in runs:
        rows = [dict(zip(table.cases, table.values[run], strict=True)) for table in classes]
        values[run] = np.array([np.mean([row[case] for row in rows if case in row]) for case in cases])
    return MetricTable(
        metric=classes[0].metric,
        label=MEAN_OF_CLASSES,
        cases=tuple(cases),
        groups=tuple(groups[case] for case in cases),
        values=values,
        missed={run: missed[run] for run in runs},
        absent=tuple(sorted({case for table in classes for case in table.absent} - set(cases))),
        wrongly_found={run: wrongly_found[run] for run in runs},
        incomplete=tuple(sorted({run for table in classes for run in table.incomplete})),
    )
