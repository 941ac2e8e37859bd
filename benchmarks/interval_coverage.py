"""How often the statistics of `genesis benchmark` find an effect that is not there, and one that is.

    python -m benchmarks.interval_coverage --save

Benchmarks are simulated with known effects of patients and trainings (tests/benchmark/simulation.py). Standard
deviations in Dice: between trainings "runs", between patients in what pretraining does for them 0.02, and of the
remaining noise 0.03. "own cases": every seed has labelled cases of its own, whose effect has one of 0.03. Columns:
without any effect, the share of benchmarks in which the interval over patients and trainings, the percentile bootstrap
over both, Wilcoxon's test over patients, and the verdict on a single comparison find one all the same (5 % is
promised); half of the interval; and how often the verdict finds a gain of 0.03.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from benchmarks.machine import add_report_flags, report
from nnunet_genesis.benchmark.statistics.interval import crossed_terms, hierarchical_bootstrap
from nnunet_genesis.benchmark.statistics.significance import LEVEL
from tests.benchmark.simulation import Truth, simulate_arms

PATIENTS, SEEDS, RUNS = (46, 12), ((2, 2), (3, 3), (5, 5), (3, 5)), (0.0, 0.01, 0.02)
GAIN, SUBSETS = 0.03, 0.03


@dataclass(frozen=True)
class Rates:
    """Shares of simulated benchmarks.

    Attributes:
        interval: Its 95 % interval excludes zero.
        wilcoxon: Wilcoxon's p-value is below 0.05.
        verdict: Both, as the verdict on a single comparison asks.
        half_width: Median half of the interval.
    """

    interval: float
    wilcoxon: float
    verdict: float
    half_width: float


def rates(truth: Truth, seeds: tuple[int, int], patients: int, times: int, *, paired: bool) -> Rates:
    """Simulate, and count what is found."""
    arm, control = simulate_arms(truth, np.random.default_rng(0), times=times, seeds=seeds, groups=patients)
    terms = crossed_terms(arm, control, paired=paired)
    half = terms.half_width()
    excludes = np.abs(terms.difference) > half
    ranks = stats.wilcoxon(arm.mean(axis=1) - control.mean(axis=1), axis=-1).pvalue < LEVEL
    found = (excludes.mean(), ranks.mean(), (excludes & ranks).mean(), np.median(half))
    return Rates(*(float(value) for value in found))


def bootstrap_rate(truth: Truth, seeds: tuple[int, int], patients: int, times: int, *, paired: bool) -> float:
    """Share of simulated benchmarks whose bootstrap interval excludes zero."""
    arms = simulate_arms(truth, np.random.default_rng(1), times=times, seeds=seeds, groups=patients)
    ends = [hierarchical_bootstrap(*pair, paired=paired, draws=1000) for pair in zip(*arms, strict=True)]
    return float(np.mean([low > 0 or high < 0 for low, high in ends]))


def main() -> None:
    """Measure, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10000, help="benchmarks per line (the bootstrap: a tenth)")
    add_report_flags(parser)
    options = parser.parse_args()
    figures: dict[str, float] = {}
    head = ("interval", "bootstrap", "Wilcoxon", "verdict", "half width", "finds 0.03")
    lines = [f"{'patients, seeds, runs':>34}  " + "  ".join(f"{name:>10}" for name in head)]
    for patients in PATIENTS:
        for seeds in SEEDS:
            for runs in RUNS:
                for paired in (False, True) if seeds[0] == seeds[1] else (False,):
                    truth = Truth(runs=runs, subsets=SUBSETS if paired else 0.0)
                    none = rates(truth, seeds, patients, options.times, paired=paired)
                    some = rates(replace(truth, gain=GAIN), seeds, patients, options.times, paired=paired)
                    drawn = bootstrap_rate(truth, seeds, patients, options.times // 10, paired=paired)
                    name = f"{patients}, {seeds[0]} and {seeds[1]}, {runs:g}" + (", own cases" if paired else "")
                    values = (none.interval, drawn, none.wilcoxon, none.verdict, none.half_width, some.verdict)
                    lines.append(f"{name:>34}  " + "  ".join(f"{value:>10.3f}" for value in values))
                    figures |= {f"{name}: {column}": value for column, value in zip(head, values, strict=True)}
    report("interval_coverage", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
