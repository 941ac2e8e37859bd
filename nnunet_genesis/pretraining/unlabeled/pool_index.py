"""The index of a pool, read from its list of cases once and kept in arrays for the next time."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.errors import DataError
from nnunet_genesis.files import replacing
from nnunet_genesis.pretraining.case_index import CaseIndex, index_cases

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_genesis.pretraining.unlabeled.pool import Pool

INDEX_FILE = ".index.npz"
_ARRAYS = tuple(field.name for field in fields(CaseIndex) if field.name != "folder")
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    RuntimeError,  # what zipfile cannot unpack: later versions (NotImplementedError is one), passwords
    MemoryError,  # shapes that no memory holds
    TypeError,  # a bare array has no entries; AttributeError before Python 3.11
    AttributeError,
)
"""What numpy and zipfile raise about an archive that is none."""


def index_pool(pool: Pool, *, expected: Mapping[str, str] | None = None) -> CaseIndex:
    """Index the cases of a pool, sorted by name.

    Cases of `expected`, which a continued run learned from, may have vanished: the run will notice.
    The arrays are kept beside the list; where the list changed, or the folder cannot be written, they are made anew.

    Raises:
        DataError: If the list cannot be read, or a file of a case has vanished.
    """
    kept = pool.folder / INDEX_FILE
    made_from = _version(pool.cases_file)
    index = _load(kept, made_from, pool.folder)
    if index is None:
        cases = sorted(pool.read_cases(), key=lambda case: case.identifier)
        index = index_cases(pool.folder, cases, [case.identifier for case in cases], [case.scan for case in cases])
        _keep(kept, made_from, index)
    # One listing instead of a question per file: those are slow over a network.
    there = {entry.name for entry in os.scandir(pool.folder)}
    vanished = [str(case) for case, file in zip(index.identifiers, index.files, strict=True) if str(file) not in there]
    if set(vanished) - set(expected or ()):
        raise DataError(
            f"{len(vanished)} case(s) of pool {pool.name} have vanished, the first is {vanished[0]}",
            where=pool.folder,
            mend="run the genesis preprocess-unlabeled command of the pool again: it redoes them alone"
            f" (the command is in {pool.pool_file.name})",
        )
    return index


def _version(file: Path) -> list[int]:
    if not file.exists():
        return [0, 0]
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _load(kept: Path, made_from: list[int], folder: Path) -> CaseIndex | None:
    try:
        with kept.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in arrays.zip.infolist()):
                return None
            if arrays["made_from"].tolist() != made_from:
                return None
            # What is no array comes as bytes.
            index = CaseIndex(folder, **{name: np.asarray(arrays[name]) for name in _ARRAYS})
    except _DAMAGED:
        return None  # only a copy of the list: it is made again
    return index if _is_index(index) else None


def _is_index(index: CaseIndex) -> bool:
    """Whether the arrays are such as `index_cases` makes."""
    cases = index.identifiers.shape
    texts = (index.identifiers, index.files, index.sha256, index.scans)
    return (
        len(cases) == 1
        and all(array.dtype.kind == "U" and array.shape == cases for array in texts)
        and index.shapes.dtype == np.int32
        and index.shapes.shape == (*cases, 3)
        and index.foreground.dtype == np.uint8
        and index.foreground.shape == (*cases, 8, 8, 8)
        and bool((index.shapes > 0).all())
    )


def _keep(kept: Path, made_from: list[int], index: CaseIndex) -> None:
    # A folder that cannot be written costs time the next time, nothing else.
    with suppress(OSError), replacing(kept) as part, part.open("wb") as stream:
        np.savez(stream, made_from=np.array(made_from), **{name: getattr(index, name) for name in _ARRAYS})
