"""All that a report is made of, gathered from a benchmark's folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.collect import EPOCHS_FILE, RESULTS_FILE, RunReport, list_reports
from nnunet_genesis.benchmark.record import Record, read_record
from nnunet_genesis.benchmark.scores import read_case_scores, read_epoch_scores
from nnunet_genesis.benchmark.settings import PER_SEED
from nnunet_genesis.benchmark.statistics.comparison import Comparison, compare
from nnunet_genesis.benchmark.statistics.convergence import Convergence, convergence, smoothed_curves
from nnunet_genesis.benchmark.statistics.metric_table import DICE, MEAN_OF_CLASSES, MetricTable, build_tables
from nnunet_genesis.benchmark.statistics.savings import LabelSaving, label_savings
from nnunet_genesis.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from nnunet_genesis.benchmark.scores import RunKey

MOST_CLASSES = 6
"""With more classes tables show their mean alone (ours)."""


@dataclass(frozen=True)
class Material:
    """What was measured, what it shows, and where it comes from.

    Attributes:
        folder: Of the benchmark.
        record: Of the benchmark; None where it is lost, then nothing is told of settings and trainings.
        runs: How every training stands.
        tables: Scores by metric and class.
        comparisons: By metric and class; each entry is a family of Holm's correction.
        savings: Of labels, by the headline's metric and class.
        curves: Smoothed pseudo Dice of every training.
        convergence: When arms reach scratch's end.
    """

    folder: Path
    record: Record | None
    runs: list[RunReport]
    tables: dict[tuple[str, str], MetricTable]
    comparisons: dict[tuple[str, str], list[Comparison]]
    savings: list[LabelSaving]
    curves: dict[RunKey, NDArray[np.float64]]
    convergence: list[Convergence]

    @property
    def headline(self) -> tuple[str, str] | None:
        """Metric and class that the verdict is about: the Dice, mean of classes where there are several."""
        return find_headline(self.tables)

    @property
    def all_labelled(self) -> int | None:
        """Number of cases that could be trained on; None where the record is lost."""
        return None if self.record is None else self.record.settings.num_trainable

    @property
    def shown(self) -> list[tuple[str, str]]:
        """Metrics and classes that tables have room for; all are in ``results.json``."""
        if len({label for _, label in self.tables}) <= MOST_CLASSES + 1:
            return list(self.tables)
        return [(metric, label) for metric, label in self.tables if label == MEAN_OF_CLASSES]

    @property
    def verdicts(self) -> list[Comparison]:
        """Comparisons of the headline."""
        return [] if self.headline is None else self.comparisons[self.headline]


def gather(folder: Path) -> Material:
    """Read a benchmark's folder and compare what is in it.

    Raises:
        DataError: If it holds no table of scores, or a file that cannot be read.
    """
    results, epochs = folder / RESULTS_FILE, folder / EPOCHS_FILE
    if not results.is_file():
        raise DataError(
            f"there is no {RESULTS_FILE} of a benchmark",
            where=folder,
            mend="genesis benchmark DATASET writes it; name the folder that it wrote to",
        )
    record = read_record(folder)
    paired = record is not None and record.settings.subset_draws == PER_SEED
    tables = build_tables(read_case_scores(results))
    headline = find_headline(tables)
    curves = smoothed_curves(read_epoch_scores(epochs)) if epochs.is_file() else {}
    return Material(
        folder=folder,
        record=record,
        runs=[] if record is None else list_reports(folder, record),
        tables=tables,
        comparisons={place: compare(table, paired=paired) for place, table in tables.items()},
        savings=[] if headline is None else label_savings(tables[headline], paired=paired),
        curves=curves,
        convergence=convergence(curves, paired=paired),
    )


def find_headline(tables: dict[tuple[str, str], MetricTable]) -> tuple[str, str] | None:
    """See `Material.headline`; None where nothing was measured."""
    wanted = [(DICE, MEAN_OF_CLASSES), *(place for place in tables if place[0] == DICE), *tables]
    return next((place for place in wanted if place in tables), None)
