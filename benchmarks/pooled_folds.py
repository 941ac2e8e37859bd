"""Benchmarks of one dataset with other test patients each, taken together: every patient's gain, and every fold's.

    python -m benchmarks.pooled_folds FOLDER... [--picture FILE] [--name NAME] [--save]

For datasets so small that one test set says little. FOLDERs are of `genesis benchmark` on this machine, with disjoint
`--test-cases` and a pretraining per FOLDER that excludes them. Patients of a fold are judged by the same trainings, so
the folds are what is independent; with so few of them there is no test that could show anything, and none is made.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.charts import draw_folds
from benchmarks.machine import report
from nnunet_genesis.benchmark.collect import RESULTS_FILE
from nnunet_genesis.benchmark.scores import SCRATCH, read_case_scores
from nnunet_genesis.benchmark.statistics.comparison import Arm, arms_of, matched_scores
from nnunet_genesis.benchmark.statistics.metric_table import DICE, build_tables
from nnunet_genesis.errors import DataError, GenesisError

if TYPE_CHECKING:
    from collections.abc import Sequence


def pair(folder: Path) -> dict[Arm, dict[str, tuple[float, float]]]:
    """Per pretrained arm and group of a fold, the Dice of scratch and of the arm: means over the seeds of both."""
    tables = build_tables(read_case_scores(folder / RESULTS_FILE))
    found = {}
    for table in [table for (metric, _), table in tables.items() if metric == DICE][:1]:  # the mean of classes is first
        arms = arms_of(table.values)
        for arm in arms:
            control = replace(arm, initialisation=SCRATCH)
            if arm == control or control not in arms:
                continue
            ours, theirs = matched_scores(table, arm, control, paired=True)
            if len(ours):
                dice = zip(theirs.mean(axis=0).tolist(), ours.mean(axis=0).tolist(), strict=True)
                found[arm] = dict(zip(table.group_names, dice, strict=True))
    return found


def pool(folders: Sequence[Path]) -> dict[Arm, list[dict[str, tuple[float, float]]]]:
    """Per arm, the groups of every fold that has it.

    Raises:
        DataError: If a group is tested in two folds, or nothing can be compared.
    """
    folds: dict[Arm, list[dict[str, tuple[float, float]]]] = defaultdict(list)
    for folder in folders:
        for arm, groups in pair(folder).items():
            if again := {group for fold in folds[arm] for group in fold} & groups.keys():
                raise DataError(f"tested twice: {', '.join(sorted(again))}", where=folder, mend="name disjoint folds")
            folds[arm].append(groups)
    if not folds:
        raise DataError(
            "no pretrained training with one from scratch beside it",
            where=folders[0],
            mend="genesis benchmark DATASET --initialisation NAME=FILE",
        )
    return folds


def main() -> None:
    """Print and draw every patient's Dice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path, help="where to draw it")
    parser.add_argument("--name", default="pooled_folds", help="of the files in benchmarks/results")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    lines: list[str] = []
    pooled = {
        f"{arm.initialisation}, {arm.labelled} labelled, {arm.schedule}": folds
        for arm, folds in pool(options.folders).items()
    }
    for name, folds in pooled.items():
        values = np.array([dice for fold in folds for dice in fold.values()])
        by_fold = [float(np.mean([after - before for before, after in fold.values()])) for fold in folds]
        scratch, pretrained = values.mean(0)
        gains = values[:, 1] - values[:, 0]
        lines += [
            f"{name}: {len(values)} groups in {len(folds)} folds, Dice {scratch:.3f} from scratch, {pretrained:.3f}",
            f"  gain {gains.mean():+.3f}; by fold {', '.join(f'{gain:+.3f}' for gain in by_fold)};"
            f" {(gains > 0).sum()} of {len(gains)} groups gain",
        ]
        lines += [
            f"    {group:12s} {before:.3f} -> {after:.3f} ({after - before:+.3f})"
            for fold in folds
            for group, (before, after) in fold.items()
        ]
        figures |= {f"{name}/scratch": float(scratch), f"{name}/pretrained": float(pretrained)}
        figures |= {f"{name}/gain/fold {number}": gain for number, gain in enumerate(by_fold)}
    if options.picture:
        draw_folds(options.picture, pooled)
    report(options.name, "\n".join(lines), figures, save=options.save, as_json=False)


if __name__ == "__main__":
    try:
        main()
    except GenesisError as error:
        sys.exit(str(error))
