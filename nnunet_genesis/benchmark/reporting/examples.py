"""Test cases to look at: the worst and the best of two trainings that differ in nothing but their initial weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.benchmark.collect import run_folder_of
from nnunet_genesis.benchmark.figures.overlays import Example
from nnunet_genesis.benchmark.figures.style import SHORT_NAMES
from nnunet_genesis.benchmark.reporting.numbers_in_words import score
from nnunet_genesis.benchmark.runs import Run, control_of
from nnunet_genesis.benchmark.scores import SCRATCH, RunKey
from nnunet_genesis.benchmark.workspace import find_view
from nnunet_genesis.errors import GenesisError
from nnunet_genesis.plans_files import read_dataset_json
from nnunet_genesis.raw_scan_keys import find_raw_cases
from nnunet_genesis.trainers.schedules import STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.reporting.material import Material
    from nnunet_genesis.benchmark.statistics.metric_table import MetricTable

LOGGER = logging.getLogger("nnunet_genesis")


@dataclass(frozen=True)
class Pair:
    """Two trainings whose predictions are drawn.

    Attributes:
        pretrained: The one.
        scratch: Its control with the same seed.
        cases: Names of test cases, and why each is shown.
    """

    pretrained: RunKey
    scratch: RunKey
    cases: dict[str, str]


def choose_pairs(material: Material) -> list[Pair]:
    """For every initialisation the training with the fewest labels, the standard schedule and the first seed."""
    if material.headline is None:
        return []
    table = material.tables[material.headline]
    runs = sorted(table.values, key=lambda run: (run.labelled, run.schedule != STANDARD, run.schedule, run.seed))
    pairs: dict[str, Pair] = {}
    for run in runs:
        control = replace(run, initialisation=SCRATCH)
        if run != control and control in table.values and run.initialisation not in pairs:
            pairs[run.initialisation] = Pair(run, control, _worst_and_best(table, run, control))
    return list(pairs.values())


def read_examples(material: Material) -> Iterator[tuple[Pair, list[Example]]]:
    """Read images, references and predictions of `choose_pairs`; what is not at hand is left out, with a warning."""
    pairs = choose_pairs(material)
    if material.record is None or not pairs:
        return
    try:
        files = _Files(material.record, material.folder)
    except (GenesisError, OSError, KeyError, ValueError, RuntimeError) as error:
        LOGGER.warning("no test case can be drawn: %s: %s", type(error).__name__, error)
        return
    for pair in pairs:
        examples = _read_pair(pair, material, files)
        if examples:
            yield pair, examples


class _Files:
    """Where nnU-Net put what is drawn."""

    def __init__(self, record: Record, folder: Path) -> None:
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        settings = record.settings
        self._record, self._folder = record, folder
        self._dataset = find_view(folder, settings.dataset)
        description = read_dataset_json(self._dataset / "dataset.json")
        self._ending = str(description["file_ending"])
        self.reader: Any = PlansManager(str(self._dataset / f"{settings.plans}.json")).image_reader_writer_class()
        self._images: dict[str, list[Path]] = {}
        try:
            self._images = find_raw_cases(settings.dataset, "imagesTr")
        except GenesisError as error:
            LOGGER.warning("test cases are drawn without their images: %s", error)

    def image(self, case: str) -> Path | None:
        """The first channel; None where raw images are not at hand."""
        found = self._images.get(case)
        return None if found is None else found[0]

    def reference(self, case: str) -> Path:
        """What the labels say."""
        return self._dataset / "gt_segmentations" / f"{case}{self._ending}"

    def prediction(self, run: RunKey, case: str) -> Path:
        """What a training made of it."""
        schedule = control_of(run.schedule) if run.initialisation == SCRATCH else run.schedule
        results = run_folder_of(self._folder, Run(replace(run, schedule=schedule), 0, "")).results
        found = next(iter(sorted(results.glob("*/*/fold_*/validation"))), None)
        if found is None:
            raise FileNotFoundError(f"no predictions in {results}")
        return found / f"{case}{self._ending}"


def _read_pair(pair: Pair, material: Material, files: _Files) -> list[Example]:
    try:
        return [_read_example(case, why, pair, material, files) for case, why in pair.cases.items()]
    except (GenesisError, OSError, KeyError, ValueError, RuntimeError) as error:
        LOGGER.warning("test cases of %s cannot be drawn: %s: %s", pair.pretrained, type(error).__name__, error)
        return []


def _worst_and_best(table: MetricTable, run: RunKey, control: RunKey) -> dict[str, str]:
    sign = 1 if table.larger_is_better else -1
    found: dict[str, list[str]] = {}
    for one in (control, run):
        order = np.argsort(sign * table.values[one], kind="stable")
        found.setdefault(table.cases[order[0]], []).append(f"worst of {one.initialisation}")
        found.setdefault(table.cases[order[-1]], []).append(f"best of {one.initialisation}")
    return {case: ", ".join(reasons) for case, reasons in found.items()}


def _read_example(case: str, why: str, pair: Pair, material: Material, files: _Files) -> Example:
    reference, properties = files.reader.read_seg(str(files.reference(case)))
    segmentations = {"reference": reference[0]}
    for run in (pair.scratch, pair.pretrained):
        prediction, _ = files.reader.read_seg(str(files.prediction(run, case)))
        segmentations[_title(run, case, material)] = prediction[0]
    file = files.image(case)
    image = None
    if file is not None and file.is_file():
        image = files.reader.read_images([str(file)])[0][0].astype(np.float32)
    return Example(
        title=f"{case}: {why}" + ("" if image is not None else " (no raw image at hand)"),
        image=image,
        segmentations={name: np.asarray(one, dtype=np.int64) for name, one in segmentations.items()},
        spacing=tuple(float(mm) for mm in properties["spacing"]),
    )


def _title(run: RunKey, case: str, material: Material) -> str:
    """The initialisation and its score of the headline."""
    place = material.headline or ("", "")
    table = material.tables[place]
    value = float(table.values[run][table.cases.index(case)])
    return f"{run.initialisation}: {SHORT_NAMES.get(place[0], place[0])} {score(value, place[0])}"
