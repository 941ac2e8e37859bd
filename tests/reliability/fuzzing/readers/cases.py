"""Preprocessed cases, what nnU-Net notes of them, and pools."""

from __future__ import annotations

import io
import pickle
import struct
from typing import TYPE_CHECKING

import blosc2
import numpy as np
import pytest

from nnunet_genesis.benchmark.classes import find_absent_classes
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.case_files import open_case, read_part, read_whole
from nnunet_genesis.pretraining.case_index import index_cases
from nnunet_genesis.pretraining.case_survey import survey_cases, survey_file
from nnunet_genesis.pretraining.unlabeled.pool import open_pools
from nnunet_genesis.pretraining.unlabeled.pool_index import INDEX_FILE, index_pool
from tests.hostile import RunsCommand
from tests.pools import write_pool
from tests.preprocessed import DATASET, smooth_cases, write_dataset
from tests.reliability.fuzzing.mutations import mutate_bytes, mutate_json, mutate_json_lines
from tests.reliability.fuzzing.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random


def _make_with(file_format: str) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        dataset = write_dataset(
            folder, smooth_cases(1, (12, 20, 20)), (4, 8, 8), pytest.MonkeyPatch(), file_format=file_format
        )
        return [dataset / "nnUNetPlans_cases" / f"case_000.{file_format}"]

    return make


def _read_case(_: Path, file: Path) -> None:
    array = open_case(file)
    read_part(array, (slice(0, 1), slice(1, 4), slice(0, 8), slice(2, 9)), file)
    read_whole(file)


def _read_survey(_: Path, __: Path) -> None:
    planned = load_planned_configuration(DATASET)
    survey_file(planned).unlink(missing_ok=True)
    survey_cases(planned, ["case_000"], survey_file(planned), workers=1, show_progress=False)


def _b2nd_traps(folder: Path) -> Sequence[bytes]:
    """Arrays of a terabyte in a few bytes, a file without an array, an expression, and a reference to a server."""
    file = folder / "trap.b2nd"
    contents = []
    blosc2.zeros((1, 1 << 13, 1 << 12, 1 << 13), dtype=np.float32, urlpath=str(file), mode="w")
    contents.append(file.read_bytes())
    blosc2.SChunk(chunksize=4096, data=b"\0" * 8192, urlpath=str(file), mode="w")
    contents.append(file.read_bytes())
    for meta in ({"LazyArray": {"expression": "__import__('os').system('true')", "operands": {}}},
                 {"proxy-source": {"caterva2_env": False, "urlpath": ["a", "http://127.0.0.1:9/"]}}):  # fmt: skip
        blosc2.zeros((1, 4, 4, 4), dtype=np.float32, urlpath=str(file), mode="w", meta=meta)
        contents.append(file.read_bytes())
    file.unlink()
    return (*contents, b"", b"a" * 100)


def _npz_traps(_: Path) -> Sequence[bytes]:
    objects, bomb = io.BytesIO(), io.BytesIO()
    np.savez(objects, data=np.array([RunsCommand], dtype=object))
    np.savez_compressed(bomb, data=np.zeros((1, 1 << 11, 1 << 10, 1 << 8), np.float32))
    return (objects.getvalue(), bomb.getvalue(), b"", b"PK\x05\x06" + b"\0" * 18)


def _npy_traps(folder: Path) -> Sequence[bytes]:
    def npy(description: bytes) -> bytes:
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(description) + 1) + description + b"\n" + b"\0" * 64

    return (
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1099511627776, 4, 4)}"),
        npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 2, 2, 2)}") + pickle.dumps(RunsCommand(folder)),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 0, 4, 4)}"), npy(b"(" * 10_000), npy(b"9" * 9000),
    )  # fmt: skip


def _make_pickle(folder: Path) -> Sequence[Path]:
    file = folder / "case_000.pkl"
    locations = {1: np.zeros((3, 4), np.int64), (1, 2): [], 2: np.ones((1, 4), np.int32)}
    told = {"spacing": [np.float64(1.0)] * 3, "shape_before_cropping": (4, 5, 6), "class_locations": locations}
    file.write_bytes(pickle.dumps({**told, "sitk_stuff": {"origin": (0.0, 1.0, 2.0)}}))
    return [file]


def _read_pickle(folder: Path, _: Path) -> None:
    find_absent_classes(folder, ["case_000"], {"a": [1], "b": [1, 2], "c": [2], "d": [3]})


def _pickle_traps(folder: Path) -> Sequence[bytes]:
    canary = folder.parent.parent / "code_was_run"
    return (
        pickle.dumps(RunsCommand(canary)),
        pickle.dumps({"class_locations": RunsCommand(canary)}),
        b"\x80\x02}r" + struct.pack("<I", 0x7FFFFFFF) + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02\x8b" + struct.pack("<i", 0x7FFFFFFF) + b".",
        b"cnumpy\nzeros\n((L1099511627776L\nI4\nt\x85R.", b"cbuiltins\neval\n(V1+1\ntR.", b"",
    )  # fmt: skip


def _make_pool(folder: Path) -> Sequence[Path]:
    cases = smooth_cases(3, (4, 8, 8))
    write_dataset(folder, cases, (4, 8, 8), pytest.MonkeyPatch())
    pool = write_pool(load_planned_configuration(DATASET), "pool", cases)
    index_pool(pool)
    return [pool.cases_file, pool.pool_file]


def _make_pool_index(folder: Path) -> Sequence[Path]:
    return [_make_pool(folder)[0].with_name(INDEX_FILE)]


def _make_survey(folder: Path) -> Sequence[Path]:
    _make_with("b2nd")(folder)
    planned = load_planned_configuration(DATASET)
    survey_cases(planned, ["case_000"], survey_file(planned), workers=1, show_progress=False)
    return [survey_file(planned)]


def _read_kept_survey(_: Path, file: Path) -> None:
    planned = load_planned_configuration(DATASET)
    records = list(survey_cases(planned, ["case_000"], file, workers=1, show_progress=False).values())
    index_cases(planned.cases_folder, records, ["case_000"], [""]).keys(0)


def _mutate_pool(content: bytes, random: Random) -> bytes:
    return (mutate_json_lines if b'"identifier"' in content else mutate_json)(content, random)


def _read_pool(_: Path, file: Path) -> None:
    (pool,) = open_pools(load_planned_configuration(DATASET), ["pool"])
    pool.count_channels()
    cases = pool.read_cases()
    pool.whole_images(cases)
    if file.name != INDEX_FILE:
        (pool.folder / INDEX_FILE).unlink(missing_ok=True)
    index = index_pool(pool)
    for number in range(len(index)):
        index.keys_with_channels(number)
        index.file(number)


CASES = (
    Reader("b2nd", _make_with("b2nd"), _read_case, mutate_bytes, _b2nd_traps),
    Reader("npz", _make_with("npz"), _read_case, mutate_bytes, _npz_traps),
    Reader("npy", _make_with("npy"), _read_case, mutate_bytes, _npy_traps),
    Reader("survey", _make_with("b2nd"), _read_survey, mutate_bytes, _b2nd_traps),
    Reader("properties", _make_pickle, _read_pickle, mutate_bytes, _pickle_traps),
    Reader("pool", _make_pool, _read_pool, _mutate_pool),
    Reader("pool_index", _make_pool_index, _read_pool, mutate_bytes, _npz_traps, is_cache=True),
    Reader("kept_survey", _make_survey, _read_kept_survey, mutate_json, is_cache=True),
)
