"""The list of ``--exclude``: the same lines mean the same for a pool and for pretraining."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.plans import list_cases

if TYPE_CHECKING:
    from nnunet_genesis.plans import PlannedConfiguration

SCAN_PREFIX = "scan:"
"""Begins entries that are keys of voxels instead of names."""


def resolve_exclusions(planned: PlannedConfiguration, file: Path) -> tuple[str, ...]:
    """Read a list of what must stay out of pretraining.

    Args:
        planned: The dataset.
        file: Text; per line a preprocessed case of the dataset, ``POOL/CASE``, a raw case in imagesTr or imagesTs, or a
            path (relative to the list) of a scan or a folder of scans. Lines that begin with # do not count.

    Returns:
        Sorted names of preprocessed cases, and `SCAN_PREFIX` with the key of voxels for everything else.

    Raises:
        SetupError: If the file cannot be read, or a line is none of these.
    """
    try:
        lines = {line.strip() for line in file.read_text(encoding="utf-8").splitlines()}
    except (OSError, ValueError) as error:
        raise SetupError(
            f"--exclude: the list cannot be read ({error})", where=file, mend="--exclude with a text file"
        ) from error
    entries = {line for line in lines if line and not line.startswith("#")}
    own = set(list_cases(planned.cases_folder)) if planned.cases_folder.is_dir() else set()
    names = {line for line in entries if line in own or _is_pool_case(planned, line)}
    others = sorted(entries - names)
    return tuple(sorted([*names, *(f"{SCAN_PREFIX}{key}" for key in _keys(planned, file, others))]))


def _is_pool_case(planned: PlannedConfiguration, line: str) -> bool:
    pool, _, case = line.partition("/")
    return bool(case) and (planned.pools_folder / pool / f"{case}.b2nd").is_file()


def _keys(planned: PlannedConfiguration, file: Path, lines: list[str]) -> list[str]:
    if not lines:
        return []
    from nnunet_genesis.pretraining.unlabeled.build import BuildOptions, reader_endings
    from nnunet_genesis.pretraining.unlabeled.exclusion import keys_of_list

    with tempfile.TemporaryDirectory() as folder:
        rest = Path(folder, file.name)
        # Paths are relative to the list that the user wrote.
        absolute = [str((file.parent / line).absolute()) if (file.parent / line).exists() else line for line in lines]
        rest.write_text("\n".join(absolute) + "\n", encoding="utf-8")
        options = BuildOptions(workers=min(8, os.cpu_count() or 1))
        return list(keys_of_list(planned, rest, options, endings=reader_endings(planned)))
