"""The first sentences of a report: what is shown, and what is not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.benchmark.figures.style import SHORT_NAMES
from nnunet_genesis.benchmark.reporting.numbers_in_words import change, count, score
from nnunet_genesis.benchmark.reporting.provenance import doubtful_files, short_training
from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.benchmark.settings import PER_SEED
from nnunet_genesis.benchmark.statistics.verdict import Verdict, has_few_patients, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.benchmark.reporting.material import Material
    from nnunet_genesis.benchmark.statistics.comparison import Comparison


def verdict(material: Material) -> str:
    """What all comparisons of the headline show together."""
    if material.headline is None:
        return "No training has finished yet: there is nothing to compare."
    table, entries = material.tables[material.headline], material.verdicts
    metric = SHORT_NAMES.get(table.metric, table.metric)
    on = f"{metric}, {table.label}, on {count(len(table.cases), 'test case')}"
    if len(table.group_names) < len(table.cases):
        on += f" of {count(len(table.group_names), 'group')} (patients)"
    if not entries:
        return f"Nothing can be compared yet ({on}): no pretrained training has a finished control from scratch."
    counts = Counter(judge(entry) for entry in entries)
    if len(entries) == 1:
        told = f"against scratch: {judge(entries[0]).value}"
    elif counts[Verdict.NONE] == len(entries):
        told = f"no difference to scratch is shown in any of {len(entries)} comparisons"
    else:
        told = (
            f"of {len(entries)} comparisons with scratch, pretraining is shown to be better in"
            f" {counts[Verdict.BETTER]} and worse in {counts[Verdict.WORSE]}; in {counts[Verdict.NONE]} no difference"
            " is shown"
        )
    return f"{on}: {told}. {_range_of_gains(entries)}"


def cautions(material: Material) -> list[str]:
    """What a reader must know before believing it."""
    entries = material.verdicts
    found = []
    alone = sum(not entry.interval.over_runs for entry in entries)
    if alone:
        found.append(
            f"{count(alone, 'comparison has', 'comparisons have')} one seed only: the interval holds for these"
            " trainings, and says nothing of others. Train at least three seeds."
        )
    few = sum(min(len(one.pretrained.seeds), len(one.scratch.seeds)) == 2 for one in entries)
    if few:
        found.append(
            f"{count(few, 'comparison has', 'comparisons have')} two seeds only, which hardly tell how far trainings"
            " differ: the interval is wide, and of several comparisons none is called better or worse. Train at least"
            " three seeds."
        )
    if len({one.arm.labelled for one in entries}) > 1:
        found.append(
            "A seed means the same initial weights at every number of labels: what one unlucky seed does is seen in"
            " several comparisons, and they are no independent evidence of one another."
        )
    if entries and has_few_patients(entries[0]):
        found.append(
            f"{len(entries[0].groups)} test patients are too few for {count(entries[0].family, 'comparison')}: even if"
            " all of them got better, Wilcoxon's test could not show it."
        )
    if material.record is not None:
        found += _of_record(material)
    incomplete = {run for table in material.tables.values() for run in table.incomplete}
    found += [f"Left out, because scores of test cases are missing: {run}." for run in sorted(incomplete)]
    states = Counter(report.state for report in material.runs)
    missing = len(material.runs) - states[State.FINISHED]
    if missing:
        found.append(
            f"{missing} of {count(len(material.runs), 'training')} are not in these numbers:"
            f" {states[State.FAILED]} failed, {missing - states[State.FAILED]} not finished."
        )
    return found


def _range_of_gains(entries: Sequence[Comparison]) -> str:
    gains = [entry.interval.difference for entry in entries]
    metric = entries[0].metric
    spreads = [entry.scratch.deviation for entry in entries if np.isfinite(entry.scratch.deviation)]
    gain = (
        change(gains[0], metric) if len(gains) == 1 else f"{change(min(gains), metric)} to {change(max(gains), metric)}"
    )
    told = f"Gain: {gain}"
    if not spreads:
        return f"{told}; how far scratch varies from run to run is not known."
    low, high = (score(end, metric) for end in (min(spreads), max(spreads)))
    spread = low if low == high else f"{low} to {high}"
    return f"{told}; scratch alone varies by {spread} from run to run (standard deviation)."


def _of_record(material: Material) -> list[str]:
    record = material.record
    if record is None:
        return []
    draws = (
        "Every seed has labelled cases of its own, the same ones for all initialisations: seeds are compared in pairs,"
        " and one that has no counterpart is in no comparison."
        if record.settings.subset_draws == PER_SEED
        else "All seeds train on the same labelled cases: other ones may give another gain."
    )
    length = short_training(record)
    same = [
        f"The schedule {schedule} is compared with the control of {control}: nothing is loaded there, so that both have"
        " the same one."
        for schedule, control in sorted(record.same_control.items())
    ]
    return [draws, *([length] if length else []), *same, *doubtful_files(record)]
