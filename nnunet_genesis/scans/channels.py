"""nnU-Net's numbers of channels in file names (``case_0000.nii.gz``)."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.scans.candidates import Candidate
from nnunet_genesis.scans.naming import Place
from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CHANNELS = 20  # files counted further than this are numbered cases, not channels

_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)


def group_channels(
    files: Sequence[tuple[str, str]], parts: tuple[str, ...], num_channels: int, *, apart: bool = False
) -> tuple[list[Candidate], list[str]]:
    """Put the image files of one folder together to scans.

    Numbers are no channels but belong to the names of scans where they reach too far, or where one channel is expected
    and 0000 is missing.

    Args:
        files: Absolute path and file ending of each file.
        parts: Name of the folder in parts, for the identifiers.
        num_channels: Number of channels expected.
        apart: Whether every channel is a scan of its own, under its name with the number.

    Returns:
        Candidates, and notes on numbers that were not taken as channels.
    """
    groups: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    candidates: list[Candidate] = []
    notes: list[str] = []
    without_first: list[str] = []
    for path, ending in files:
        stem = Path(path).name[: len(Path(path).name) - len(ending)]
        matched = _CHANNEL.fullmatch(stem)
        number = int(matched.group(2)) if matched else -1
        if matched and number not in groups[(matched.group(1), ending.lower())]:
            groups[(matched.group(1), ending.lower())][number] = path
        else:
            candidates.append(_single(path, (*parts, stem)))
    for (stem, ending), numbered in groups.items():
        if numbered and max(numbered) >= max(MOST_CHANNELS, num_channels):
            folder = Path(next(iter(numbered.values()))).parent
            notes.append(
                f"{folder}: the numbers of {stem}_0000{ending} and the like reach {max(numbered):04d}: "
                f"taken as {len(numbered)} scans, not as channels of one"
            )
            candidates += _one_by_one(numbered, parts, stem)
        elif apart and [*numbered] != [0]:
            candidates += _one_by_one(numbered, parts, stem)
        elif numbered and num_channels == 1 and 0 not in numbered:
            without_first += numbered.values()
            candidates += _one_by_one(numbered, parts, stem)
        elif numbered:
            candidates.append(_numbered(numbered, (*parts, stem), num_channels))
    if without_first:
        notes.append(
            f"{Path(without_first[0]).parent}: {len(without_first)} files end in a number, e.g."
            f" {Path(without_first[0]).name}, but none with the same name in 0000: taken as scans, not as channels"
        )
    return candidates, notes


def describe_channels(present: Sequence[int], num_channels: int) -> str:
    """Which channels are there, which are missing and which are too many."""
    missing = [number for number in range(num_channels) if number not in present]
    excess = [number for number in present if number >= num_channels]
    text = f"{num_channels} channel{'s' if num_channels > 1 else ''} expected, there: {_list(present)}"
    if missing:
        text += f"; missing: {_list(missing)}"
    if excess:
        text += f"; too many: {_list(excess)}"
    return text


def _single(path: str, parts: tuple[str, ...]) -> Candidate:
    return Candidate(Place(parts, path), path, ((path,),))


def _one_by_one(numbered: dict[int, str], parts: tuple[str, ...], stem: str) -> list[Candidate]:
    """Every file as a scan of its own, whose number belongs to its name."""
    return [_single(path, (*parts, f"{stem}_{number:04d}")) for number, path in numbered.items()]


def _numbered(numbered: dict[int, str], parts: tuple[str, ...], num_channels: int) -> Candidate:
    present = sorted(numbered)
    first = numbered[present[0]]
    if present == list(range(num_channels)):
        return Candidate(Place(parts, first), first, tuple((numbered[number],) for number in present))
    problem = ScanProblem(
        Reason.CHANNELS,
        describe_channels(present, num_channels),
        where=first,
        mend="add or remove files; if the numbers are no channels, name the files in a table (case,channel,path)",
    )
    return Candidate(Place(parts, first), "; ".join(numbered[number] for number in present), problem=problem)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:04d}" for number in numbers) or "none"
