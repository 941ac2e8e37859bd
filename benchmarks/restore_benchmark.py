"""Makes a benchmark's folder from what was published of it, so that `genesis benchmark` adds to it on another machine.

    python -m benchmarks.restore_benchmark RESULTS FOLDER [--initialisation NAME=CHECKPOINT ...]

RESULTS holds benchmark.json, results.csv and epochs.csv, e.g. benchmarks/results/hippocampus; FOLDER is where the
benchmark is to go on, below nnUNet_results. Scores and epochs of every finished training come back, its weights and
predictions do not. A pretraining that was run again takes the place of the first one where all losses of its
progress.csv are those of RESULTS/NAME_progress.csv, but for rounding (a thousandth); the record keeps the SHA-256 of
the file that the first trainings began from. What was interrupted can be typed again.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nnunet_genesis.benchmark.candidates import parse_initialisations
from nnunet_genesis.benchmark.collect import EPOCHS_FILE, RESULTS_FILE, keys_in_tables, run_folder_of
from nnunet_genesis.benchmark.record import RECORD_FILE, read_record, write_record
from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.benchmark.scores import (
    CaseScore,
    EpochScore,
    RunKey,
    read_case_scores,
    read_epoch_scores,
    write_case_scores,
    write_epoch_scores,
)
from nnunet_genesis.checkpoint import sha256_of_file
from nnunet_genesis.errors import GenesisError, SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.benchmark.record import Record

Score = TypeVar("Score", CaseScore, EpochScore)
_PROGRESS = "progress.csv"
_OF_THE_MACHINE = "steps_per_second"
_ROUNDING = 1e-3
_LEAVE_OUT = "leave it out here, and add it by another name: genesis benchmark --initialisation NAME=FILE"


def restore(results: Path, folder: Path, checkpoints: dict[str, Path]) -> int:
    """Write the record and the finished trainings.

    Args:
        results: What was published.
        folder: New folder of the benchmark.
        checkpoints: By initialisation: the same pretraining, run again.

    Returns:
        How many finished trainings there are.

    Raises:
        SetupError: If `folder` holds a benchmark or other trainings, `results` no benchmark, or a pretraining is
            another one.
    """
    if (folder / RECORD_FILE).exists():
        raise SetupError("there is a benchmark already", where=folder, mend="name a new folder")
    record = read_record(results)
    if record is None:
        raise SetupError("there is no benchmark", where=results, mend="benchmarks/results/hippocampus")
    for name, checkpoint in checkpoints.items():
        if name not in record.initialisations:
            raise SetupError(
                f"--initialisation {name}: the benchmark has {', '.join(record.initialisations)}",
                where=results,
                mend="name one of them",
            )
        _require_same_losses(results / f"{name}_{_PROGRESS}", checkpoint.with_name(_PROGRESS))
        record.initialisations[name] = _name_again(record.initialisations[name], checkpoint)
    cases = _by_run(read_case_scores(results / RESULTS_FILE))
    epochs = _by_run(read_epoch_scores(results / EPOCHS_FILE))
    count = 0
    keys_of = keys_in_tables(record)
    _refuse_other_trainings(record, folder, results)
    for run in record.runs.values():
        published = next((key for key in keys_of[run.key] if key in cases), None)
        if published is None:
            continue
        count += 1
        files = run_folder_of(folder, run)
        files.folder.mkdir(parents=True, exist_ok=True)  # the record is written last: it may be the second try
        files.write({"status": State.FINISHED.value, "restored_from": str(results)})
        write_epoch_scores([replace(score, run=run.key) for score in epochs[published]], files.epochs_file)
        write_case_scores([replace(score, run=run.key) for score in cases[published]], files.scores_file)
    write_record(record, folder)
    return count


def _name_again(before: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    """What is recorded of a pretrained file, with the one that restored trainings began from among the earlier ones."""
    found = {"address": str(checkpoint), "file": str(checkpoint), "sha256": sha256_of_file(checkpoint)}
    if found["sha256"] == before.get("sha256"):
        return before | found
    replaced = {name: before[name] for name in found if name in before}
    return before | found | {"earlier": [*before.get("earlier", []), replaced]}


def _refuse_other_trainings(record: Record, folder: Path, results: Path) -> None:
    """Keep what is no beginning of the same restoring.

    Raises:
        SetupError: If there is any.
    """
    for run in record.runs.values():
        files = run_folder_of(folder, run)
        told = files.read()
        is_empty = not files.folder.exists() or all(entry.name.startswith(".") for entry in files.folder.iterdir())
        if not is_empty and told.get("restored_from") != str(results):
            raise SetupError(
                f"there is a training {run.identifier} already, which is not restored from {results}",
                where=files.folder,
                mend="name a new folder",
            )


def _by_run(scores: Sequence[Score]) -> dict[RunKey, list[Score]]:
    found: dict[RunKey, list[Score]] = defaultdict(list)
    for score in scores:
        found[score.run].append(score)
    return found


def _require_same_losses(published: Path, now: Path) -> None:
    """Refuse a pretraining whose losses differ from those of the published one.

    Raises:
        SetupError: If they do, or a table is missing.
    """
    for file in (published, now):
        if not file.is_file():
            raise SetupError("the table of losses is missing", where=file, mend="leave --initialisation out")
    epochs, epochs_now = _losses(published), _losses(now)
    if len(epochs) != len(epochs_now):
        raise SetupError(
            f"{len(epochs_now)} epochs, not the {len(epochs)} of {published}; this is another pretraining, or one that"
            " has not ended",
            where=now,
            mend=_LEAVE_OUT,
        )
    for number, (before, again) in enumerate(zip(epochs, epochs_now, strict=True), start=1):
        # Later versions write further columns; other processors round differently.
        if not all(_is_same(before[name], again.get(name, "")) for name in before):
            raise SetupError(
                f"epoch {number} is not that of {published}: {again}, not {before}; this is another pretraining",
                where=now,
                mend=_LEAVE_OUT,
            )


def _is_same(before: str, again: str) -> bool:
    try:
        return math.isclose(float(before), float(again), rel_tol=_ROUNDING)
    except ValueError:
        return before == again


def _losses(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        # A line that was cut off, by a process that was killed, has empty cells.
        return [
            {name: value for name, value in line.items() if name != _OF_THE_MACHINE}
            for line in csv.DictReader(lines, restval="")
        ]


def main() -> None:
    """Read the command line and restore."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what was published")
    parser.add_argument("folder", type=Path, help="new folder of the benchmark")
    parser.add_argument("--initialisation", nargs="+", default=[], metavar="NAME=FILE", help="pretrainings, run again")
    arguments = parser.parse_args()
    checkpoints = {candidate.name: candidate.file for candidate in parse_initialisations(arguments.initialisation)}
    count = restore(arguments.results.absolute(), arguments.folder.absolute(), checkpoints)
    parser.exit(message=f"{arguments.folder}: {count} finished trainings\n")


if __name__ == "__main__":
    try:
        main()
    except GenesisError as error:
        sys.exit(str(error))
