"""Scans that must stay out of a pool, known by their voxels: validation cases of a fold, and whatever a list names."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.pretraining.unlabeled.case_preprocessing import PreprocessingJob
from nnunet_genesis.pretraining.unlabeled.supervised import run_supervised
from nnunet_genesis.pretraining.unlabeled.worker import read_scan_key, start_worker
from nnunet_genesis.raw_scan_keys import SCAN_KEYS_FILE, Part, find_raw_cases, read_scan_keys
from nnunet_genesis.scans.finding import find_scans

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.unlabeled.build import BuildOptions
    from nnunet_genesis.scans.scan import Scan

_PARTS: tuple[Part, ...] = ("imagesTr", "imagesTs")


def keys_of_fold(planned: PlannedConfiguration, fold: int, *, workers: int) -> dict[str, str]:
    """Keys of the validation cases of a fold.

    Args:
        planned: The plans' dataset.
        fold: Number of the fold.
        workers: Threads that read.

    Returns:
        `scan_key` to a few words on what it is.

    Raises:
        SetupError: If the fold does not exist, or raw images are missing.
        DataError: If a raw image cannot be read.
    """
    cases = planned.validation_cases(fold)
    keys = _keys_of_cases(planned, "imagesTr", cases, workers)
    return {keys[case]: f"validation case {case} of fold {fold}" for case in cases}


def keys_of_list(
    planned: PlannedConfiguration, file: Path, options: BuildOptions, *, endings: frozenset[str]
) -> dict[str, str]:
    """Keys of the scans that a list names.

    Args:
        planned: The plans' dataset.
        file: Text, UTF-8; per line the path of a scan or of a folder of scans, relative to the file's folder, or the
            name of a raw case in imagesTr or imagesTs of the dataset; whatever a line can mean is meant. Empty lines
            and lines that begin with # do not count.
        options: How to read.
        endings: File endings that the plans' reader knows.

    Returns:
        `scan_key` to a few words on what it is.

    Raises:
        SetupError: If the file cannot be read, or a line is neither a case nor a scan that can be read.
    """
    return keys_of_entries(planned, file, read_list(file), options, endings=endings)


def read_list(file: Path, flag: str = "--exclude") -> dict[str, int]:
    """Entries of a list with the numbers of their lines; empty lines and those that begin with # are none.

    Args:
        file: Text.
        flag: Of the command line, that named the file.

    Raises:
        SetupError: If the file cannot be read.
    """
    try:
        # Windows may begin a text with a mark of its encoding.
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise SetupError(f"{flag}: the list cannot be read ({error})", where=file, mend="give a text file") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    return {line: number for number, line in numbered if line and not line.startswith("#")}


def keys_of_entries(
    planned: PlannedConfiguration,
    file: Path,
    entries: Mapping[str, int],
    options: BuildOptions,
    *,
    endings: frozenset[str],
    preprocessed: Collection[str] = (),
) -> dict[str, str]:
    """Keys of the scans that some entries of a list name; see `keys_of_list`.

    Those that are `preprocessed` stand for their raw case in imagesTr already, and need not mean anything else.
    """
    paths = {line for line in entries if _is_path(file.parent / line)}
    cases = _find_cases(planned, entries, needed=not entries.keys() <= {*paths, *preprocessed})
    cases["imagesTr"] = [case for case in cases["imagesTr"] if case not in preprocessed]
    names = {*preprocessed, *(case for there in cases.values() for case in there)}
    scans: list[Scan] = []
    for line, number in entries.items():
        if line in paths:
            found = _scans_of_line(planned, file, number, line, endings, channels_apart=options.channels_apart)
            if not found and line not in names:
                raise _bad_line(file, number, line, "no scan in it")
            scans += found
        elif line not in names:
            raise SetupError(
                f"--exclude: line {number} is '{line}', which is no file, no folder and no case of"
                f" {planned.dataset_name}",
                where=f"{file}, line {number}",
                mend="write a path relative to the list's folder, or the name of a case in imagesTr or imagesTs",
            )
    keys = _read_keys(planned, scans, file, options)
    for part, there in cases.items():
        found_keys = _keys_of_cases(planned, part, there, options.workers) if there else {}
        keys.update({key: f"{case}, named in {file.name}" for case, key in found_keys.items()})
    return keys


def _find_cases(planned: PlannedConfiguration, entries: Collection[str], *, needed: bool) -> dict[Part, list[str]]:
    """Those entries that are raw cases; a list that means something without the raw dataset does not need it."""
    try:
        return {
            part: [case for case in find_raw_cases(planned.dataset_name, part) if case in entries] for part in _PARTS
        }
    except SetupError:
        if needed:
            raise
        return {part: [] for part in _PARTS}


def _keys_of_cases(planned: PlannedConfiguration, part: Part, cases: list[str], workers: int) -> dict[str, str]:
    cache_file = planned.results_folder / SCAN_KEYS_FILE
    return read_scan_keys(planned.dataset_name, part, cases, cache_file=cache_file, workers=workers)


def _is_path(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL byte
        return False


def _scans_of_line(
    planned: PlannedConfiguration,
    file: Path,
    number: int,
    line: str,
    endings: frozenset[str],
    *,
    channels_apart: bool,
) -> list[Scan]:
    found = find_scans(
        [file.parent / line],
        num_channels=planned.num_channels,
        endings=endings,
        channel_names=planned.channel_names,
        channels_apart=channels_apart,
    )
    if found.skipped:
        raise _bad_line(file, number, line, f"{found.skipped[0].source}: {found.skipped[0].detail}")
    return found.scans


def _bad_line(file: Path, number: int, line: str, problem: str) -> SetupError:
    return SetupError(
        f"--exclude: line {number} is '{line}': {problem}",
        where=f"{file}, line {number}",
        mend="name scans that can be read: a scan is recognised by its voxels",
    )


def _read_keys(planned: PlannedConfiguration, scans: list[Scan], file: Path, options: BuildOptions) -> dict[str, str]:
    keys: dict[str, str] = {}
    if not scans:
        return keys
    with tempfile.TemporaryDirectory() as scratch:
        job = PreprocessingJob(planned, Path(scratch), options.max_voxels)
        for outcome in run_supervised(
            read_scan_key,
            scans,
            workers=options.workers,
            seconds=options.seconds,
            initializer=start_worker,
            arguments=(job,),
        ):
            source = outcome.item.sources()[0]
            if outcome.value is None:
                problem = outcome.error.problem if isinstance(outcome.error, GenesisError) else outcome.error
                raise SetupError(
                    f"--exclude: '{source}' cannot be read: {problem}",
                    where=file,
                    mend="name scans that can be read: a scan is recognised by its voxels",
                )
            keys[outcome.value] = f"{source}, named in {file.name}"
    return keys
