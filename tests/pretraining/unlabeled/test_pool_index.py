"""The index that is kept equals the list, and never outlives it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nnunet_genesis.errors import DataError
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.unlabeled.pool import CASES_FILE, Pool
from nnunet_genesis.pretraining.unlabeled.pool_index import INDEX_FILE, index_pool
from tests.pools import write_pool
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.pretraining.case_index import CaseIndex


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    write_dataset(tmp_path, smooth_cases(1, (4, 8, 8)), (4, 8, 8), monkeypatch)
    return write_pool(load_planned_configuration("777"), "mr", smooth_cases(5, (4, 10, 12)))


def same(first: CaseIndex, second: CaseIndex) -> bool:
    return all(np.array_equal(own, vars(second)[name]) for name, own in vars(first).items() if name != "folder")


def test_second_time_the_list_is_not_read(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    first = index_pool(pool)
    monkeypatch.setattr(Pool, "read_cases", None)
    assert same(index_pool(pool), first)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_damaged_or_missing_index_is_made_again(pool: Pool, damage: bytes | None) -> None:
    first = index_pool(pool)
    kept = pool.folder / INDEX_FILE
    if damage is None:
        kept.write_bytes(kept.read_bytes()[:2000])
    else:
        kept.write_bytes(damage)
    assert same(index_pool(pool), first)
    assert kept.stat().st_size > 3000


def test_archives_that_zipfile_cannot_unpack_are_made_again(pool: Pool) -> None:
    first = index_pool(pool)
    kept = pool.folder / INDEX_FILE
    whole = kept.read_bytes()
    entry = whole.index(b"PK\x01\x02")
    # In the directory: the version that is needed, the flags (encrypted), the way of packing (deflated, unknown).
    for place, value in ((6, 89), (8, 1), (10, 8), (10, 77)):
        kept.write_bytes(whole[: entry + place] + bytes([value]) + whole[entry + place + 1 :])
        assert same(index_pool(pool), first)
        kept.write_bytes(whole)
        assert kept.stat().st_size > 3000
    np.save(kept.open("wb"), np.zeros(3))
    assert same(index_pool(pool), first)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("identifiers", np.arange(5)),
        ("files", np.array(["a"])),
        ("shapes", np.full((5, 3), 1 << 40)),
        ("shapes", np.zeros((5, 3), np.int32)),
        ("foreground", np.zeros((5, 8, 8), np.uint8)),
        ("sha256", np.array("a")),
    ],
)
def test_arrays_of_another_kind_are_made_again(pool: Pool, name: str, array: np.ndarray[Any, Any]) -> None:
    first = index_pool(pool)
    kept = pool.folder / INDEX_FILE
    with np.load(kept) as arrays:
        others = dict(arrays)
    np.savez(kept.open("wb"), **{**others, name: array})
    assert same(index_pool(pool), first)


def test_a_case_that_is_added_or_done_again_is_in_the_index(pool: Pool) -> None:
    assert len(index_pool(pool)) == 5
    lines = pool.cases_file.read_text().splitlines()
    changed = lines[2].replace('"sha256": "', '"sha256": "ff')
    with pool.cases_file.open("a") as stream:
        stream.write(changed + "\n")
    index = index_pool(pool)
    assert len(index) == 5
    assert str(index.sha256[2]).startswith("ff")


def test_half_a_line_at_the_end_is_no_case_and_a_broken_one_is_named(pool: Pool) -> None:
    whole = pool.cases_file.read_text()
    pool.cases_file.write_text(whole[:-50])
    assert len(index_pool(pool)) == 4
    pool.cases_file.write_text(whole.replace('"case_001"', "case_001"))
    with pytest.raises(Exception, match=r"line 2 of the pool's list of cases cannot be read"):
        index_pool(pool)


def test_folder_that_cannot_be_written_is_no_obstacle(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(np, "savez", refuse)
    assert len(index_pool(pool)) == 5
    assert not list(pool.folder.glob(f"{INDEX_FILE}*"))


def test_a_list_of_the_same_length_from_another_time_is_read_again(pool: Pool) -> None:
    index_pool(pool)
    listed = pool.folder / CASES_FILE
    lines, status = listed.read_bytes().splitlines(keepends=True), listed.stat()
    first = json.loads(lines[0])["identifier"].encode()
    changed = lines[0].replace(first, first[:-1] + b"X")
    listed.write_bytes(b"".join([changed, *lines[1:]]))
    os.utime(listed, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    assert listed.stat().st_size == status.st_size
    with pytest.raises(DataError, match="vanished, the first is case_00X"):
        index_pool(pool)
