"""Scans that belong together, such as the CT and the MR of a patient: a table of cases and groups, or a pattern."""

from __future__ import annotations

import csv
import logging
import re
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

LOGGER = logging.getLogger("nnunet_genesis")
_HEADER = ["case", "group"]
_FORM = "a first line 'case,group', then one line per case: CASE of the dataset or SOURCE/CASE, and e.g. the patient"


def read_groups(file: Path, cases: Collection[str]) -> dict[str, str]:
    """Read which scans belong together.

    Args:
        file: Table (csv) with the header ``case,group``.
        cases: Names of all scans: cases of the dataset as they are, others ``SOURCE/CASE``.

    Returns:
        Name of every scan to its group; scans that are not in the table are groups of their own.

    Raises:
        SetupError: If the table cannot be read, names a case twice with different groups, or names no scan at all.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = [[cell.strip() for cell in line] for line in csv.reader(stream) if any(map(str.strip, line))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SetupError(f"--groups: the table cannot be read ({error})", where=file, mend=_FORM) from error
    if not lines or [cell.lower() for cell in lines[0]] != _HEADER:
        found = ",".join(lines[0]) if lines else "(empty)"
        raise SetupError(f"--groups: the first line is '{found}'", where=file, mend=_FORM)
    told: dict[str, str] = {}
    for line in lines[1:]:
        if len(line) != len(_HEADER) or not all(line):
            raise SetupError(f"--groups: '{','.join(line)}' is no case and group", where=file, mend=_FORM)
        case, group = line
        if told.setdefault(case, group) != group:
            raise SetupError(
                f"--groups: {case} is in two groups, {told[case]} and {group}", where=file, mend="one group per case"
            )
    known = set(cases)
    unknown = sorted(set(told) - known)
    if len(unknown) == len(told):
        raise SetupError(
            f"--groups: none of the {len(told)} cases is a scan of the sources, which are named like {min(known)}",
            where=file,
            mend=_FORM,
        )
    if unknown:
        LOGGER.warning("--groups: %d case(s) are no scans of the sources, the first is %s", len(unknown), unknown[0])
    alone = sorted(known - set(told))
    if alone:
        LOGGER.warning(
            "--groups: %d scan(s) are not in the table and count as groups of their own, the first is %s",
            len(alone),
            alone[0],
        )
    # The name of a group must not be that of a scan outside the table.
    return {case: f"group {told[case]}" if case in told else case for case in cases}


def groups_by_pattern(pattern: str, cases: Collection[str]) -> dict[str, str]:
    """Read from the names of scans which of them belong together.

    Args:
        pattern: Regular expression, searched for in every name; its first capture group names the group, e.g.
            ``^(.*)_(?:left|right)$``.
        cases: Names of all scans.

    Returns:
        Name of every scan to its group.

    Raises:
        SetupError: If the pattern is none, captures nothing, or is not found in a name.
    """
    mend = r"--group-pattern '^(patient_\d+)' takes patient_12_left and patient_12_right for one group"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SetupError(f"--group-pattern '{pattern}' is no regular expression: {error}", mend=mend) from error
    if compiled.groups < 1:
        raise SetupError(f"--group-pattern '{pattern}' captures nothing: it has no parentheses", mend=mend)
    found = {case: compiled.search(case) for case in cases}
    groups = {case: match[1] for case, match in found.items() if match is not None and match[1]}
    missing = sorted(set(found) - set(groups))
    if missing:
        raise SetupError(
            f"--group-pattern '{pattern}' finds no group in {len(missing)} of {len(found)} names, the first is"
            f" {missing[0]}",
            mend=f"{mend}; or --groups FILE",
        )
    return {case: f"group {group}" for case, group in groups.items()}
