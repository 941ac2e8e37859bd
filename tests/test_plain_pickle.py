"""Properties of cases come back as they were written, and nothing of a pickle is run."""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nnunet_genesis.errors import DataError
from nnunet_genesis.plain_pickle import PlainArray, read_plain_pickle
from tests.hostile import RunsCommand

if TYPE_CHECKING:
    from pathlib import Path


def plain(value: Any) -> Any:
    """Arrays of numpy instead of stand-ins."""
    if isinstance(value, PlainArray):
        return value.values
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_what_nnunet_writes_comes_back(tmp_path: Path, protocol: int) -> None:
    locations: dict[Any, Any] = {
        1: np.arange(12).reshape(3, 4),
        (1, 2): [],
        3: np.asfortranarray(np.ones((2, 4), ">i2")),
    }
    written = {"spacing": [np.float64(0.5), 1.0], "shape": (4, np.int64(5)), "class_locations": locations, "a": {1, 2}}
    file = tmp_path / "case.pkl"
    file.write_bytes(pickle.dumps(written, protocol))
    read = plain(read_plain_pickle(file))
    assert read["spacing"] == [0.5, 1.0]
    assert read["shape"] == (4, 5)
    for key, array in locations.items():
        assert np.array_equal(read["class_locations"][key], array)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x80", b"cbuiltins\neval\n(V1+1\ntR.", b"cnumpy\nzeros\n((L1099511627776L\nt\x85R.",
        b"\x80\x02}r" + struct.pack("<I", 0x7FFFFFFF) + b"a", b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.",
        pickle.dumps(np.array([None, 1], dtype=object)), pickle.dumps(np.datetime64("2020-01-01")),
    ],
)  # fmt: skip
def test_other_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "case.pkl"
    file.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read safely"):
        read_plain_pickle(file)


def test_nothing_is_run(tmp_path: Path) -> None:
    file = tmp_path / "case.pkl"
    file.write_bytes(pickle.dumps({"class_locations": RunsCommand(tmp_path / "canary")}))
    with pytest.raises(DataError, match="it asks for"):
        read_plain_pickle(file)
    assert not (tmp_path / "canary").exists()
