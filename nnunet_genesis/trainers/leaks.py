"""Whether pretraining saw what a fold is judged on: by the names of cases, and by the voxels of raw images."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError
from nnunet_genesis.machine import count_cores
from nnunet_genesis.raw_scan_keys import SCAN_KEYS_FILE, Part, try_scan_keys
from nnunet_genesis.scans.voxel_hash import channel_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

REFUSE_VARIABLE = "nnUNet_genesis_refuse_leaks"
"""Set to 1, a training does not start where pretraining saw what it is judged on: for benchmarks. Set to
`VALIDATION_ONLY`, images of imagesTs do not count; set to `VALIDATION_FOUND`, neither does what could not be
checked."""
VALIDATION_ONLY, VALIDATION_FOUND = "validation", "validation-found"
MAX_READERS = 8
_RECORDED = {
    "validation": "validation_cases_seen_in_pretraining",
    "test": "test_cases_seen_in_pretraining",
    "unchecked": "validation_cases_not_checked",
    "unchecked_test": "test_cases_not_checked",
}


@dataclass(frozen=True)
class Leaks:
    """What pretraining saw of a dataset.

    Attributes:
        validation: Validation cases of the fold.
        test: Cases of imagesTs.
        unchecked: Sentences on what of the validation cases, or of all images, could not be compared.
        unchecked_test: The same of imagesTs alone.
    """

    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    unchecked_test: list[str] = field(default_factory=list)

    def as_record(self) -> dict[str, list[str]]:
        """What ``genesis_init.json`` keeps of it."""
        return {name: getattr(self, own) for own, name in _RECORDED.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Leaks:
        """Read what `as_record` gave; what an earlier version did not keep is empty."""
        return cls(**{own: list(record.get(name) or ()) for own, name in _RECORDED.items()})

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
        return lines + [
            "WARNING: whether pretraining saw validation or test images under other names could not be fully checked:"
            f" {reason}"
            for reason in (*self.unchecked, *self.unchecked_test)
        ]


def find_leaks(
    facts: Mapping[str, Any], *, dataset_name: str, results_folder: Path, validation_cases: Collection[str]
) -> Leaks:
    """Look for validation and test images among what pretraining saw.

    Images are read only where one of the same shape was seen, and their keys are kept for the next time. One channel
    of an image that was seen alone counts.

    Args:
        facts: What the pretrained file says of itself.
        dataset_name: Dataset that is trained on.
        results_folder: ``nnUNet_results/DATASET``.
        validation_cases: Of the fold.
    """
    named = {*facts.get("cases", ()), *facts.get("validation_cases", ())}
    is_own = facts.get("dataset") == dataset_name
    validation = {case for case in validation_cases if (is_own and case in named) or f"{dataset_name}/{case}" in named}
    unchecked = _describe_unknown(facts, dataset_name)
    seen = {key for scan in facts.get("scans") or () for key in channel_keys(scan)}
    test: set[str] = set()
    unchecked_test: list[str] = []
    if seen:
        looked_for: tuple[tuple[Part, Collection[str] | None, set[str], list[str]], ...] = (
            ("imagesTr", validation_cases, validation, unchecked),
            ("imagesTs", None, test, unchecked_test),
        )
        for part, cases, found, notes in looked_for:
            try:
                images = try_scan_keys(
                    dataset_name,
                    part,
                    cases,
                    cache_file=results_folder / SCAN_KEYS_FILE,
                    workers=min(MAX_READERS, count_cores()),
                    shapes={key.split(":")[0] for key in seen},
                )
            except SetupError as error:
                notes.append(f"{part}: {error.problem} (to mend it: {error.mend})")
                continue
            found |= {case for case, key in images.keys.items() if channel_keys(key) & seen}
            for case, why in sorted(images.unreadable.items())[:1]:
                notes.append(f"{len(images.unreadable)} image(s) of {part} cannot be read, the first is {case}: {why}")
    return Leaks(sorted(validation), sorted(test), unchecked, unchecked_test)


def refuse_leaks(leaks: Leaks, fold: int | str) -> None:
    """Stop a training that would be judged on what pretraining saw, if `REFUSE_VARIABLE` says so.

    Args:
        leaks: What was found.
        fold: Of the training.

    Raises:
        SetupError: If anything was seen, or could not be checked, of what the variable asks for, or if it asks for
            nothing that is known.
    """
    asked, without = os.environ.get(REFUSE_VARIABLE, "").lower(), " and without --imagesTs"
    if asked == VALIDATION_ONLY:
        leaks, without = Leaks(leaks.validation, unchecked=leaks.unchecked), ""
    elif asked == VALIDATION_FOUND:
        leaks, without = Leaks(leaks.validation), ""
    elif asked in {"", "0", "false", "f"}:
        return
    elif asked not in {"1", "true", "t"}:
        raise SetupError(
            f"the environment variable {REFUSE_VARIABLE} is '{asked}': known are 1, {VALIDATION_ONLY},"
            f" {VALIDATION_FOUND} and 0",
            mend=f"export {REFUSE_VARIABLE}=1, or unset {REFUSE_VARIABLE}",
        )
    found = leaks.warnings(fold)
    if found:
        raise SetupError(
            f"{REFUSE_VARIABLE} is set, and:\n" + "\n".join(f"    {line.removeprefix('WARNING: ')}" for line in found),
            mend=f"{_mend(leaks, fold, without)}, or unset {REFUSE_VARIABLE}",
        )


def _mend(leaks: Leaks, fold: int | str, without: str) -> str:
    if not (leaks.validation or leaks.test):
        # Another pretraining would not be found clean, either.
        return f"mend what could not be checked and start again, or export {REFUSE_VARIABLE}={VALIDATION_FOUND}"
    # Fold "all" validates on what it trains on, and no flag excludes it.
    flags = f"with --exclude-fold {fold}{without}" if fold != "all" else without.removeprefix(" and ") or "again"
    return f"pretrain {flags}"


def _describe_unknown(facts: Mapping[str, Any], dataset_name: str) -> list[str]:
    """Say what the file does not tell of the scans that were learned from."""
    has_names = _has_names(facts)
    has_own_names = facts.get("dataset") == dataset_name and has_names
    if facts.get("sources") is None:
        if has_own_names:
            return []
        return [f"the file does not say which scans were learned from (dataset: {facts.get('dataset', 'unknown')})"]
    return [
        f"{source['num_without_key']} case(s) of the source {source['name']} are known by their names alone"
        + ("" if has_names else ", and the file has no names, because it was pushed to the Hub")
        for source in facts["sources"]
        # A dataset's own cases are known by their names for certain.
        if source.get("num_without_key") and not (source["own"] and has_own_names)
    ]


def _has_names(facts: Mapping[str, Any]) -> bool:
    """Whether cases go by their names; in a file that was pushed, hashes of voxels stand in their place."""
    cases = facts.get("cases") or ()
    hashes = cases.values() if hasattr(cases, "values") else ()
    return bool(cases) and not set(cases) & set(hashes)
