"""Archives are whole, or they are not there."""

from __future__ import annotations

import zipfile
from functools import partial
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.submission.archive import list_archive, write_archive

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = {"b.nii.gz": b"second" * 100, "a.nii.gz": b"first" * 100}


def write(file: Path) -> None:
    write_archive(file, {name: partial(bytes, content) for name, content in CONTENT.items()})


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_the_same_content_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    write(first)
    write(second)
    assert first.read_bytes() == second.read_bytes()
    assert list_archive(first, suffix) == sorted(CONTENT)


def test_a_damaged_entry_is_not_listed(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    write(file)
    content = bytearray(file.read_bytes())
    content[content.index(b"secondsecond")] ^= 1
    file.write_bytes(content)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["a.nii.gz", "b.nii.gz"]
    assert list_archive(file, ".zip") == ["a.nii.gz"]


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_that_appears_meanwhile_is_not_replaced(tmp_path: Path, suffix: str) -> None:
    """Another submission to the same folder was quicker."""
    file = tmp_path / f"x{suffix}"

    def content() -> bytes:
        file.write_bytes(b"the other one")
        return b"ours"

    with pytest.raises(SetupError, match="is there already, and is not replaced"):
        write_archive(file, {"a.nii.gz": content})
    assert file.read_bytes() == b"the other one"
    assert list(tmp_path.iterdir()) == [file], "no part is left"
