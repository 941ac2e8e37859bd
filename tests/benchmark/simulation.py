"""Scores as they would come out of a benchmark whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.benchmark.scores import SCRATCH, CaseScore, RunKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Truth:
    """Standard deviations of what varies, in Dice.

    Attributes:
        runs: Between trainings that differ in their seed alone.
        response: Between patients in how much pretraining helps them.
        noise: Of one training on one patient, beside the above.
        patients: Between patients, in both arms alike.
        subsets: Between seeds, in both arms alike, where each seed has its own labelled cases.
        gain: What pretraining adds on average.
    """

    runs: float = 0.01
    response: float = 0.02
    noise: float = 0.03
    patients: float = 0.05
    subsets: float = 0.0
    gain: float = 0.0


def simulate_arms(
    truth: Truth, generator: np.random.Generator, *, times: int, seeds: tuple[int, int], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw benchmarks: pretrained and scratch, each of shape (times, seeds, groups)."""
    patients = generator.normal(0.7, truth.patients, (times, 1, groups))
    response = generator.normal(truth.gain, truth.response, (times, 1, groups))
    subsets = generator.normal(0, truth.subsets, (times, max(seeds), 1))

    def train(count: int) -> NDArray[np.float64]:
        runs = generator.normal(0, truth.runs, (times, count, 1))
        noise = generator.normal(0, truth.noise, (times, count, groups))
        return np.asarray(patients + runs + noise + subsets[:, :count])

    return train(seeds[0]) + response, train(seeds[1])


def simulate_family(
    truth: Truth,
    generator: np.random.Generator,
    *,
    seeds: int,
    groups: int,
    labelled: Sequence[int],
    pretrainings: int,
) -> list[CaseScore]:
    """Draw one benchmark: pretrainings share patients and, at each number of labelled cases, these and scratch."""
    patients = generator.normal(0.7, truth.patients, groups)
    scores = []
    for number in labelled:
        subsets = generator.normal(0, truth.subsets, (seeds, 1))
        for name in (SCRATCH, *(f"pretrained_{one}" for one in range(pretrainings))):
            noise = generator.normal(0, truth.runs, (seeds, 1)) + generator.normal(0, truth.noise, (seeds, groups))
            response = 0.0 if name == SCRATCH else generator.normal(truth.gain, truth.response, groups)
            scores += case_scores(patients + response + subsets + noise, name, number)
    return scores


def case_scores(
    values: NDArray[np.float64], initialisation: str = SCRATCH, labelled: int = 5, metric: str = "dice"
) -> list[CaseScore]:
    """Lines of one class and one case a patient; values of shape (seeds, groups)."""
    return [
        CaseScore(
            RunKey(initialisation, labelled, "standard", seed), f"case_{place}", f"p{place}", "organ", metric, one
        )
        for seed, row in enumerate(values.tolist())
        for place, one in enumerate(row)
    ]
