"""One pass over nnU-Net's preprocessed cases before the first step: shapes, finite values, hashes, foreground maps.

Pools need none: what is known of their cases was written when they were preprocessed.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from nnunet_genesis.errors import DataError
from nnunet_genesis.files import replacing
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.plans_checks import is_plain_name
from nnunet_genesis.pretraining.case_files import find_case_file, read_whole
from nnunet_genesis.pretraining.case_index import is_case_shape
from nnunet_genesis.pretraining.foreground import decode_map, encode_map, foreground_mask, map_foreground
from nnunet_genesis.saved_often import saved_often
from nnunet_genesis.scans.voxel_hash import hash_voxels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration

LOGGER = logging.getLogger("nnunet_genesis")


@dataclass(frozen=True)
class CaseRecord:
    """What the survey found in one case.

    Attributes:
        file: Name of the image file.
        bytes: Size of the file; with `modified`, tells whether the record still holds.
        modified: Modification time of the file in nanoseconds.
        shape: Channels, then three spatial axes.
        sha256: Of the preprocessed voxels as float32 in C order, so that it does not depend on compression.
        foreground: Coarse map of the foreground, as text.
    """

    file: str
    bytes: int
    modified: int
    shape: list[int]
    sha256: str
    foreground: str


def survey_file(planned: PlannedConfiguration) -> Path:
    """Where the survey of a dataset is kept, for all runs on it."""
    return planned.results_folder / f"GenesisCases__{planned.data_identifier}.json"


def survey_cases(
    planned: PlannedConfiguration,
    cases: Sequence[str],
    kept_in: Path,
    *,
    workers: int,
    show_progress: bool,
    expected: Mapping[str, str] | None = None,
) -> dict[str, CaseRecord]:
    """Check and hash every case; records of unchanged files are taken from the file `kept_in`, and added to it.

    Args:
        planned: The dataset's plans.
        cases: Names.
        kept_in: What earlier runs found.
        workers: Threads that read.
        show_progress: Whether to show bars.
        expected: The voxels' hash by name, of cases that a continued run learned from: one that vanished or was damaged
            since is taken as it was, and left for the run to notice.

    Raises:
        DataError: If a case cannot be read, has another number of channels, or holds NaN or infinite values.
    """
    known = _read_known(kept_in)
    as_it_was = {
        case: record
        for case, sha256 in (expected or {}).items()
        if (record := known.get(case)) and record.sha256 == sha256
    }
    cases = sorted({*cases, *as_it_was})
    unchanged, pending = {}, []
    for case in cases:
        record = known.get(case)
        try:
            file = find_case_file(planned.cases_folder, case)
        except DataError as error:
            unchanged[case] = _stand_in(as_it_was, case, error)
            continue
        status = file.stat()
        if record and (record.file, record.bytes, record.modified) == (file.name, status.st_size, status.st_mtime_ns):
            unchanged[case] = record
        else:
            pending.append(case)
    with ThreadPoolExecutor(max(1, workers)) as pool:  # decompression and hashing release the interpreter lock
        found = pool.map(lambda case: _survey_or_stand_in(planned, case, as_it_was), pending)
        bar = tqdm(
            found, total=len(pending), desc="checking cases", unit="case", disable=not (show_progress and pending)
        )
        records = dict(unchanged)
        records.update(zip(pending, saved_often(bar, lambda: _keep(kept_in, known | records)), strict=True))
    return {case: records[case] for case in cases}


def _survey_or_stand_in(planned: PlannedConfiguration, case: str, as_it_was: Mapping[str, CaseRecord]) -> CaseRecord:
    try:
        return _survey_case(planned, case)
    except DataError as error:
        return _stand_in(as_it_was, case, error)


def _stand_in(as_it_was: Mapping[str, CaseRecord], case: str, error: DataError) -> CaseRecord:
    if case not in as_it_was:
        raise error
    LOGGER.warning("%s: %s since the run began; it goes on with the others", case, error.problem)
    return as_it_was[case]


def _survey_case(planned: PlannedConfiguration, case: str) -> CaseRecord:
    file = find_case_file(planned.cases_folder, case)
    again = f"nnUNetv2_preprocess -d {planned.dataset_name[7:10]} -p {planned.plans_name} -c {planned.configuration}"
    try:
        voxels = read_whole(file)
    except DataError as error:
        raise DataError(error.problem, where=file, mend=f"mend its raw image if need be, then {again}") from error
    if voxels.ndim != 4 or voxels.shape[0] != planned.num_channels:
        raise DataError(
            f"the case has shape {voxels.shape}, expected {planned.num_channels} channels and three spatial axes",
            where=file,
            mend=again,
        )
    status = file.stat()
    return CaseRecord(
        file.name,
        status.st_size,
        status.st_mtime_ns,
        list(voxels.shape),
        hash_voxels(voxels),
        encode_map(map_foreground(foreground_mask(voxels, planned))),
    )


def _keep(kept_in: Path, records: dict[str, CaseRecord]) -> None:
    everything = {case: asdict(record) for case, record in sorted(records.items())}
    try:
        kept_in.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept_in) as part:
            part.write_text(json.dumps(everything, separators=(",", ":")) + "\n")
    except OSError as error:
        LOGGER.warning("%s cannot be written (%s): all cases will be read again the next time", kept_in, error)


def _read_known(kept_in: Path) -> dict[str, CaseRecord]:
    try:
        content = read_json(kept_in)
        known = {case: CaseRecord(**record) for case, record in content.items()}
        for record in known.values():
            decode_map(record.foreground)
            if not (is_case_shape(record.shape) and is_plain_name(record.file) and is_plain_name(record.sha256)):
                raise TypeError("a record that no case has")
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # a missing or unreadable survey is only a cache: it is made again
    return known
