"""Whether pretraining saw what a fold is judged on: by the names of cases, and by the voxels of raw images."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.raw_scan_keys import SCAN_KEYS_FILE, Part, read_scan_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

MAX_READERS = 8


@dataclass(frozen=True)
class Leaks:
    """What pretraining saw of a dataset.

    Attributes:
        validation: Validation cases of the fold.
        test: Cases of imagesTs.
        unchecked: Why raw images could not be compared, if so.
    """

    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    unchecked: str | None = None

    def warnings(self, fold: int | str) -> list[str]:
        """Lines for the log."""
        lines = []
        if self.validation:
            lines.append(
                f"WARNING: pretraining saw {len(self.validation)} validation case(s) of fold {fold}, the first is"
                f" {self.validation[0]}: its score is not one of unseen images. Pretrain with --exclude-fold {fold} to"
                " report it."
            )
        if self.test:
            lines.append(
                f"WARNING: pretraining saw {len(self.test)} image(s) of imagesTs, the first is {self.test[0]}: a score"
                " on them is not one of unseen images. Pretrain without them, unless the challenge allows it and you"
                " say so."
            )
        if self.unchecked is not None:
            lines.append(
                "WARNING: whether pretraining saw validation or test images under other names could not be checked:"
                f" {self.unchecked}"
            )
        return lines


def find_leaks(
    facts: Mapping[str, Any], *, dataset_name: str, results_folder: Path, validation_cases: Collection[str]
) -> Leaks:
    """Look for validation and test images among what pretraining saw.

    Images are read only where one of the same shape was seen, and their keys are kept for the next time.

    Args:
        facts: What the pretrained file says of itself.
        dataset_name: Dataset that is trained on.
        results_folder: ``nnUNet_results/DATASET``.
        validation_cases: Of the fold.
    """
    named = {*facts.get("cases", ()), *facts.get("validation_cases", ())}
    validation = set(validation_cases) & named if facts.get("dataset") == dataset_name else set()
    scans = set(facts.get("scans") or ())
    if not scans:
        return Leaks(
            sorted(validation), unchecked=_why_unknown(facts) if facts.get("dataset") != dataset_name else None
        )
    shapes = {scan.split(":")[0] for scan in scans}

    def seen(part: Part, cases: Collection[str] | None) -> set[str]:
        keys = read_scan_keys(
            dataset_name,
            part,
            cases,
            cache_file=results_folder / SCAN_KEYS_FILE,
            workers=min(MAX_READERS, os.cpu_count() or 1),
            shapes=shapes,
        )
        return {case for case, key in keys.items() if key in scans}

    try:
        return Leaks(sorted(validation | seen("imagesTr", validation_cases)), sorted(seen("imagesTs", None)))
    except (SetupError, DataError) as error:
        return Leaks(sorted(validation), unchecked=error.problem)


def _why_unknown(facts: Mapping[str, Any]) -> str:
    return f"the file does not say which scans were learned from (dataset: {facts.get('dataset', 'unknown')})"
