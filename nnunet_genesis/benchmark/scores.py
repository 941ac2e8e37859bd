"""What a benchmark measured, one value a line: the table that statistics and report read."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from nnunet_genesis.errors import DataError
from nnunet_genesis.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SCRATCH = "scratch"
"""The initialisation that all others are compared with: nothing is loaded."""


@dataclass(frozen=True, order=True)
class RunKey:
    """What tells one training from all others of a benchmark.

    Attributes:
        initialisation: `SCRATCH`, or the name of a pretraining checkpoint.
        labelled: Number of labelled training cases.
        schedule: Part of the trainer's name that says how to train, like ``standard``, ``warmup`` or ``full_warmup``.
        seed: Of the training.
    """

    initialisation: str
    labelled: int
    schedule: str
    seed: int


@dataclass(frozen=True)
class CaseScore:
    """One metric of one class of one held-out test case after one training.

    Attributes:
        run: The training.
        case: Name of the test case.
        group: What it belongs to, e.g. the patient; cases of one group are no independent evidence.
        label: Name of the class, as in dataset.json.
        metric: ``dice`` or ``nsd``, in [0, 1], larger is better; ``hd95`` in mm, smaller is better.
        value: NaN where it is not defined, e.g. the Dice where neither prediction nor reference has the class.
        in_reference: Whether the reference of the case has the class; None in tables of versions that did not keep it.
    """

    run: RunKey
    case: str
    group: str
    label: str
    metric: str
    value: float
    in_reference: bool | None = None


@dataclass(frozen=True)
class EpochScore:
    """What nnU-Net logged of one epoch of one training.

    Attributes:
        run: The training.
        epoch: From 0 on.
        label: Name of the class; empty for the mean over classes.
        pseudo_dice: nnU-Net's pseudo Dice on random patches of the test cases, in [0, 1].
    """

    run: RunKey
    epoch: int
    label: str
    pseudo_dice: float


_RUN_COLUMNS = [field.name for field in fields(RunKey)]
_CASE_COLUMNS = [*_RUN_COLUMNS, *(field.name for field in fields(CaseScore)[1:])]
_WHOLE_NUMBERS, _NUMBERS = {"labelled", "seed", "epoch"}, {"value", "pseudo_dice"}
_IN_REFERENCE = "in_reference"
_TRUTH = {"": None, "0": False, "1": True}
_MEND = (
    "run `genesis benchmark DATASET` again: it collects the scores of the finished runs anew; where the table is that"
    " of a single run, delete it first: its cases are scored again, from its predictions"
)
_EPOCH_COLUMNS = [*_RUN_COLUMNS, *(field.name for field in fields(EpochScore)[1:])]


def write_case_scores(scores: Iterable[CaseScore], file: Path) -> None:
    """Write a table with a line per value; what is not defined or not known is left empty."""
    truth = {value: text for text, value in _TRUTH.items()}
    lines = [
        [
            *asdict(score.run).values(),
            *(score.case, score.group, score.label, score.metric, _text(score.value), truth[score.in_reference]),
        ]
        for score in scores
    ]
    _write(_CASE_COLUMNS, lines, file)


def read_case_scores(file: Path) -> list[CaseScore]:
    """Read what `write_case_scores` wrote, now or before it kept whether the reference has the class.

    Raises:
        DataError: If a column is missing or a value is no number.
    """
    return [
        CaseScore(
            _run(line),
            *(line["case"], line["group"], line["label"], line["metric"]),
            _number(line["value"]),
            _TRUTH[line.get(_IN_REFERENCE, "")],
        )
        for line in _read(_CASE_COLUMNS, file, optional=_IN_REFERENCE)
    ]


def write_epoch_scores(scores: Iterable[EpochScore], file: Path) -> None:
    """Write a table with a line per value."""
    lines = [[*asdict(score.run).values(), score.epoch, score.label, _text(score.pseudo_dice)] for score in scores]
    _write(_EPOCH_COLUMNS, lines, file)


def read_epoch_scores(file: Path) -> list[EpochScore]:
    """Read what `write_epoch_scores` wrote.

    Raises:
        DataError: If a column is missing or a value is no number.
    """
    return [
        EpochScore(_run(line), int(line["epoch"]), line["label"], _number(line["pseudo_dice"]))
        for line in _read(_EPOCH_COLUMNS, file)
    ]


def _run(line: dict[str, str]) -> RunKey:
    return RunKey(line["initialisation"], int(line["labelled"]), line["schedule"], int(line["seed"]))


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _write(columns: list[str], lines: list[list[object]], file: Path) -> None:
    with replacing(file) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(lines)


def _read(columns: list[str], file: Path, optional: str = "") -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            header, lines = list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the table cannot be read ({error})", where=file, mend=_MEND) from error
    missing = [column for column in columns if column not in (*header, optional)]
    if missing:
        raise DataError(
            f"no table of a benchmark: the column(s) {', '.join(missing)} are missing", where=file, mend=_MEND
        )
    for number, line in enumerate(lines, start=2):
        for column in columns:
            if column in header and not _is_valid(line[column], column):
                raise DataError(
                    f"'{line[column]}' in the column {column} is no {'0 or 1' if column == optional else 'number'}",
                    where=f"{file}, line {number}",
                    mend=_MEND,
                )
    return lines


def _is_valid(text: str | None, column: str) -> bool:
    if text is None:  # the line is too short
        return False
    try:
        if column in _WHOLE_NUMBERS:
            int(text)
        elif column in _NUMBERS:
            _number(text)
        elif column == _IN_REFERENCE:
            return text in _TRUTH
    except ValueError:
        return False
    return True
