"""The list of ``--exclude``: its lines mean the same as for a pool, and cases of a pool besides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.plans import list_cases
from nnunet_genesis.pretraining.processes import preprocessing_workers

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration

SCAN_PREFIX = "scan:"
"""Begins entries that are keys of voxels instead of names."""


def resolve_exclusions(planned: PlannedConfiguration, file: Path) -> tuple[str, ...]:
    """Read a list of what must stay out of pretraining.

    Args:
        planned: The dataset.
        file: Text; per line a preprocessed case of the dataset, ``POOL/CASE``, a raw case in imagesTr or imagesTs, or a
            path (relative to the list) of a scan or a folder of scans; whatever a line can mean is meant. Lines that
            begin with # do not count.

    Returns:
        Sorted names of preprocessed cases, and `SCAN_PREFIX` with the key of voxels for everything else.

    Raises:
        SetupError: If the file cannot be read, or a line is none of these.
    """
    from nnunet_genesis.pretraining.unlabeled.build import BuildOptions, reader_endings
    from nnunet_genesis.pretraining.unlabeled.exclusion import keys_of_entries, read_list

    entries = read_list(file)
    own = set(list_cases(planned.cases_folder)) if planned.cases_folder.is_dir() else set()
    names = {line for line in entries if line in own or _is_pool_case(planned, line)}
    options = BuildOptions(workers=preprocessing_workers())
    keys = keys_of_entries(planned, file, entries, options, endings=reader_endings(planned), preprocessed=names)
    return tuple(sorted([*names, *(f"{SCAN_PREFIX}{key}" for key in keys)]))


def _is_pool_case(planned: PlannedConfiguration, line: str) -> bool:
    pool, _, case = line.partition("/")
    return bool(case) and (planned.pools_folder / pool / f"{case}.b2nd").is_file()
