"""How often `genesis benchmark` calls at least one of many comparisons better or worse where there is no effect.

    python -m benchmarks.family_verdicts --save

Benchmarks are simulated as in interval_coverage, without any effect: 46 patients, five numbers of labelled cases, and
three pretrainings that are compared with the same scratch, 15 comparisons in all (or one). Columns: the share of
benchmarks in which, of at least one comparison, both corrected p-values are below 0.05; and in which the verdict on at
least one is better or worse, which asks for enough seeds, too (5 % is promised).
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

from benchmarks.interval_coverage import SUBSETS
from benchmarks.machine import add_report_flags, report
from nnunet_genesis.benchmark.statistics.comparison import compare
from nnunet_genesis.benchmark.statistics.metric_table import build_tables
from nnunet_genesis.benchmark.statistics.significance import LEVEL
from nnunet_genesis.benchmark.statistics.verdict import Verdict, judge
from tests.benchmark.simulation import Truth, simulate_family

PATIENTS = 46
LABELLED, PRETRAININGS = (5, 10, 20, 50, 160), 3
SETTINGS = ((2, 0.01, False), (2, 0.02, False), (3, 0.01, False), (3, 0.02, False), (5, 0.02, False), (2, 0.02, True))
"""Seeds of either arm, deviation between trainings, and whether seeds have labelled cases of their own."""


def rates(truth: Truth, *, seeds: int, several: bool, paired: bool, times: int) -> tuple[float, float]:
    """Shares of simulated benchmarks, see above."""
    generator = np.random.default_rng(0)
    sure, told = [], []
    labelled, pretrainings = (LABELLED, PRETRAININGS) if several else (LABELLED[:1], 1)
    for _ in tqdm(range(times), desc=f"{seeds} seeds", leave=False, disable=None):
        scores = simulate_family(
            truth, generator, seeds=seeds, groups=PATIENTS, labelled=labelled, pretrainings=pretrainings
        )
        found = compare(build_tables(scores)["dice", "organ"], paired=paired)
        sure.append(any(max(one.interval_holm, one.wilcoxon_holm) < LEVEL for one in found))
        told.append(any(judge(one) is not Verdict.NONE for one in found))
    return float(np.mean(sure)), float(np.mean(told))


def main() -> None:
    """Measure, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="benchmarks per line")
    add_report_flags(parser)
    options = parser.parse_args()
    figures: dict[str, float] = {}
    lines = [f"{'seeds, runs, comparisons':>36}  {'p-values':>8}  {'verdict':>8}"]
    for seeds, runs, paired in SETTINGS:
        for several in (False, True):
            truth = Truth(runs=runs, subsets=SUBSETS if paired else 0.0)
            shares = rates(truth, seeds=seeds, several=several, paired=paired, times=options.times)
            compared = len(LABELLED) * PRETRAININGS if several else 1
            name = f"{seeds}, {runs:g}, {compared}" + (", own cases" if paired else "")
            lines.append(f"{name:>36}  " + "  ".join(f"{share:>8.3f}" for share in shares))
            figures |= dict(zip((f"{name}: p-values", f"{name}: verdict"), shares, strict=True))
    report("family_verdicts", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
