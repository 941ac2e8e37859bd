"""One pass over all cases before the first step: shapes, finite values, hashes, and the range of intensities."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from nnunet_genesis.errors import DataError
from nnunet_genesis.pretraining.case_files import find_case_file, open_case, read_part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration

SURVEY_FILE = "cases.json"
SAMPLED_CASES = 64
"""Cases whose voxels are sampled for the range of intensities."""
SAMPLED_VOXELS = 20_000
"""Voxels per sampled case."""


@dataclass(frozen=True)
class CaseRecord:
    """What the survey found in one case.

    Attributes:
        file: Name of the image file.
        bytes: Size of the file; with `modified`, tells whether the record still holds.
        modified: Modification time of the file in nanoseconds.
        shape: Channels, then three spatial axes.
        sha256: Of the preprocessed voxels as float32 in C order, so that it does not depend on compression.
    """

    file: str
    bytes: int
    modified: int
    shape: list[int]
    sha256: str


def survey_cases(
    planned: PlannedConfiguration, cases: Sequence[str], survey_file: Path, *, workers: int, show_progress: bool
) -> dict[str, CaseRecord]:
    """Check and hash every case; records of unchanged files are taken from `survey_file`.

    Raises:
        DataError: If a case cannot be read, has another number of channels, or holds NaN or infinite values.
    """
    known = _read_known(survey_file)
    unchanged, pending = {}, []
    for case in cases:
        record, file = known.get(case), find_case_file(planned.cases_folder, case)
        status = file.stat()
        if record and (record.file, record.bytes, record.modified) == (file.name, status.st_size, status.st_mtime_ns):
            unchanged[case] = record
        else:
            pending.append(case)
    with ThreadPoolExecutor(max(1, workers)) as pool:  # decompression and hashing release the interpreter lock
        found = pool.map(lambda case: _survey_case(planned, case), pending)
        bar = tqdm(
            found, total=len(pending), desc="checking cases", unit="case", disable=not (show_progress and pending)
        )
        records = unchanged | dict(zip(pending, bar, strict=True))
    if pending:
        part = survey_file.with_name(f".{survey_file.name}.tmp")
        part.write_text(json.dumps({case: asdict(records[case]) for case in sorted(records)}, indent=1) + "\n")
        part.replace(survey_file)
    return {case: records[case] for case in cases}


def sample_intensities(
    planned: PlannedConfiguration, cases: Sequence[str], generator: np.random.Generator
) -> list[npt.NDArray[np.float32]]:
    """Draw voxels from up to `SAMPLED_CASES` cases.

    Returns:
        One (channels, voxels) array per sampled case.
    """
    count = min(len(cases), SAMPLED_CASES)
    chosen = sorted(generator.choice(len(cases), count, replace=False).tolist())
    samples = []
    for index in chosen:
        voxels = _read_whole(planned, cases[index]).reshape(planned.num_channels, -1)
        drawn = generator.choice(voxels.shape[1], min(SAMPLED_VOXELS, voxels.shape[1]), replace=False)
        samples.append(voxels[:, drawn])
    return samples


def _survey_case(planned: PlannedConfiguration, case: str) -> CaseRecord:
    file = find_case_file(planned.cases_folder, case)
    voxels = _read_whole(planned, case)
    again = f"nnUNetv2_preprocess -d {planned.dataset_name[7:10]} -p {planned.plans_name} -c {planned.configuration}"
    if voxels.ndim != 4 or voxels.shape[0] != planned.num_channels:
        raise DataError(
            f"the case has shape {voxels.shape}, expected {planned.num_channels} channels and three spatial axes",
            where=file,
            mend=again,
        )
    if not np.isfinite(voxels).all():
        raise DataError("the case holds NaN or infinite values", where=file, mend=f"mend the raw image, then {again}")
    status = file.stat()
    return CaseRecord(
        file.name,
        status.st_size,
        status.st_mtime_ns,
        list(voxels.shape),
        hashlib.sha256(np.ascontiguousarray(voxels).data).hexdigest(),
    )


def _read_whole(planned: PlannedConfiguration, case: str) -> npt.NDArray[np.float32]:
    array = open_case(planned.cases_folder, case)
    return read_part(array, tuple(slice(None) for _ in array.shape), planned.cases_folder, case)


def _read_known(survey_file: Path) -> dict[str, CaseRecord]:
    try:
        content = json.loads(survey_file.read_text())
        return {case: CaseRecord(**record) for case, record in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # a missing or unreadable survey is only a cache: it is made again
