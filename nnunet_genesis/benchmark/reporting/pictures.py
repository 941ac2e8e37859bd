"""Draws the pictures of a report, as far as there is something to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.figures.convergence_curves import draw_convergence
from nnunet_genesis.benchmark.figures.differences import draw_differences
from nnunet_genesis.benchmark.figures.label_efficiency import draw_label_efficiency
from nnunet_genesis.benchmark.figures.overlays import draw_overlays
from nnunet_genesis.benchmark.figures.style import Styles
from nnunet_genesis.benchmark.reporting.examples import read_examples
from nnunet_genesis.benchmark.statistics.metric_table import MEAN_OF_CLASSES
from nnunet_genesis.report_page import Picture

if TYPE_CHECKING:
    from nnunet_genesis.benchmark.reporting.material import Material

FOLDER = "report_pictures"


class Pictures:
    """Writes pictures into a folder beside the report; each method returns none where there is nothing to draw.

    Args:
        material: What is drawn.
    """

    def __init__(self, material: Material) -> None:
        self._material = material
        names = [run.initialisation for table in material.tables.values() for run in table.values]
        self._styles = Styles([*names, *(run.initialisation for run in material.curves)])
        self._folder = material.folder / FOLDER
        self._folder.mkdir(exist_ok=True)

    def label_efficiency(self) -> list[Picture]:
        """Every metric over the number of labelled cases."""
        headline = self._material.headline
        if headline is None:
            return []
        tables = self._material.tables
        metrics = dict.fromkeys(metric for metric, _ in tables)
        places = [(metric, label) for metric in metrics for label in (MEAN_OF_CLASSES, headline[1])]
        rows = [
            (tables[place], self._material.comparisons[place]) for place in dict.fromkeys(places) if place in tables
        ]
        draw_label_efficiency(self._folder / "label_efficiency.png", rows, self._styles)
        caption = (
            "Scores on the test cases over the number of labelled cases. Small marks are single trainings, lines their"
            " means. The bar at a pretrained mean is the 95 % interval of its difference to scratch: where it does not"
            " reach scratch's line, it excludes zero. Bars that are too long are cut off."
        )
        return [Picture(f"{FOLDER}/label_efficiency.png", caption)]

    def differences(self) -> list[Picture]:
        """Differences of every patient."""
        if not self._material.verdicts:
            return []
        draw_differences(self._folder / "differences.png", self._material.verdicts, self._styles)
        caption = (
            "What pretraining changes: a mark per patient, mean over its cases and the trainings, and the mean with its"
            " 95 % interval over patients and trainings. The grey band is the standard deviation of scratch from run to"
            " run. Patients stand in the same order in every column. Intervals that are too long are cut off."
        )
        return [Picture(f"{FOLDER}/differences.png", caption)]

    def convergence(self) -> list[Picture]:
        """Pseudo Dice over the epochs."""
        if not self._material.curves:
            return []
        draw_convergence(
            self._folder / "convergence.png", self._material.curves, self._material.convergence, self._styles
        )
        caption = (
            "nnU-Net's pseudo Dice on patches of the test cases, mean over classes and the last epochs (a tenth of all,"
            " at least three, at most ten). Thin lines are single trainings, thick ones their means. Large marks: where"
            " a mean first reaches scratch's end."
        )
        return [Picture(f"{FOLDER}/convergence.png", caption)]

    def overlays(self) -> list[Picture]:
        """Worst and best cases of scratch and of every pretraining."""
        pictures = []
        labels = {} if self._material.record is None else self._material.record.labels
        for pair, examples in read_examples(self._material):
            run = pair.pretrained
            file = self._folder / f"cases_{run.initialisation}.png"
            draw_overlays(file, examples, labels)
            caption = (
                f"{run.initialisation} beside scratch, {run.labelled} labelled cases, schedule {run.schedule}, seed"
                f" {run.seed}: the worst and the best test case of either, in the slice with the largest area of the"
                " reference."
            )
            pictures.append(Picture(f"{FOLDER}/{file.name}", caption))
        return pictures
