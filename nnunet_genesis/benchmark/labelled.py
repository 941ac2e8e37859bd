"""The labelled subsets of a benchmark: those that it has, and those that are asked for now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.runs import Subset
from nnunet_genesis.benchmark.settings import PER_SEED
from nnunet_genesis.benchmark.subsets import ALL, Amount, TestSet, draw_labelled, parse_amount
from nnunet_genesis.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.settings import BenchmarkSettings

DEFAULT_LABELLED = ("5", "10", "20", "50", ALL)


def default_amounts(settings: BenchmarkSettings) -> list[Amount]:
    """The usual numbers, as far as there are so many cases."""
    available = settings.num_trainable
    return [parse_amount(text) for text in DEFAULT_LABELLED if text == ALL or int(text) < available]


def extend_subsets(
    record: Record, settings: BenchmarkSettings, amounts: Sequence[Amount], seeds: Sequence[int]
) -> tuple[list[Subset], list[str]]:
    """Add the subsets that are new to the record; returns those asked for."""
    test_set = TestSet(settings.test_cases, settings.left_out)
    per_seed = settings.subset_draws == PER_SEED
    available = settings.num_trainable
    wanted: list[int] = []
    notes: list[str] = []
    for draw in seeds if per_seed else (0,):
        drawn = draw_labelled(settings.groups, test_set, amounts, seed=settings.subset_seed, draw=draw)
        for amount, cases in drawn.items():
            labelled = amount.count(available) if per_seed else len(cases)
            if len(cases) != amount.count(available):
                told = f" (draw {draw})" if per_seed else ""
                notes.append(f"--labelled {amount.text}: {len(cases)} cases{told}, because groups are not divided")
            wanted.append(_find_or_add(record, labelled, draw, amount.text, cases))
    return [record.subsets[number] for number in dict.fromkeys(wanted)], notes


def _find_or_add(record: Record, labelled: int, draw: int, asked: str, cases: tuple[str, ...]) -> int:
    """Number of the subset among those of the record."""
    for number, subset in enumerate(record.subsets):
        if (subset.labelled, subset.draw) == (labelled, draw):
            if subset.cases != cases:
                raise DataError(
                    f"this version of nnunet-genesis draws other {labelled} labelled cases than the benchmark was begun"
                    " with",
                    mend="go on with that version, or begin another benchmark with --name",
                )
            record.subsets[number] = replace(subset, asked=tuple(dict.fromkeys([*subset.asked, asked])))
            return number
    record.subsets.append(Subset(len(record.subsets), labelled, draw, (asked,), cases))
    return len(record.subsets) - 1
