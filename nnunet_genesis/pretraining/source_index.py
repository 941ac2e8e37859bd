"""The index of one source: what is known of its cases before any is drawn from."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.plans import list_cases
from nnunet_genesis.pretraining.case_index import CaseIndex, index_cases
from nnunet_genesis.pretraining.case_survey import survey_cases, survey_file
from nnunet_genesis.pretraining.unlabeled.pool import Pool
from nnunet_genesis.pretraining.unlabeled.pool_index import index_pool
from nnunet_genesis.raw_scan_keys import SCAN_KEYS_FILE, ScanKeys, try_scan_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.source_folders import SourceFolder

LOGGER = logging.getLogger("nnunet_genesis")


def open_index(
    folder: SourceFolder, *, workers: int, show_progress: bool, expected: Mapping[str, str] | None = None
) -> CaseIndex:
    """Index the cases of a source: a pool from its list, a dataset by reading what is not known of it yet.

    Args:
        folder: Where it lies.
        workers: Threads that read.
        show_progress: Whether to show bars.
        expected: Hashes of cases that a continued run learned from, see `survey_cases`.

    Raises:
        DataError: If a case cannot be read.
    """
    if isinstance(folder.location, Pool):
        return index_pool(folder.location, expected=expected)
    planned = folder.location
    cases = list_cases(planned.cases_folder)
    records = survey_cases(
        planned, cases, survey_file(planned), workers=workers, show_progress=show_progress, expected=expected
    )
    keys = _read_raw(planned, list(records), workers)
    return index_cases(
        planned.cases_folder, list(records.values()), list(records), [keys.get(case, "") for case in records]
    )


def _read_raw(planned: PlannedConfiguration, cases: Sequence[str], workers: int) -> dict[str, str]:
    """Keys of the raw images of a dataset, as far as there are any; says what is missing."""
    cache_file = planned.results_folder / SCAN_KEYS_FILE
    try:
        raw = try_scan_keys(planned.dataset_name, "imagesTr", cases, cache_file=cache_file, workers=workers)
    except SetupError as error:
        raw, number, problem = ScanKeys({}), len(cases), error.problem
    else:
        first = next(iter(sorted(raw.unreadable.items())), None)
        number, problem = len(raw.unreadable), f"the first is {first[0]}: {first[1]}" if first else ""
    if problem:
        LOGGER.warning(
            "%s: the raw images of %d of %d cases cannot be compared (%s): a scan elsewhere that equals one of these is"
            " found only if it was preprocessed to equal voxels in every channel",
            planned.dataset_name,
            number,
            len(cases),
            problem,
        )
    return raw.keys
