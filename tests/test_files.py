"""A file that is replaced holds all of the old or all of the new, and nothing is left beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.files import SECONDS_UNTIL_STALE, remove_parts, replacing

if TYPE_CHECKING:
    from pathlib import Path


def test_the_file_changes_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    file.write_text("old")
    with replacing(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("kept.json", "new")]


def test_what_takes_the_place_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, flushed = tmp_path / "kept.json", []
    file.write_text("old")

    def flush(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_size, file.read_text()))

    monkeypatch.setattr(os, "fsync", flush)
    with replacing(file) as part:
        part.write_text("newer")
    assert flushed == [(5, "old")]


def interrupt(file: Path) -> None:
    with replacing(file) as part:
        part.write_text("ne")
        raise KeyboardInterrupt


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupt(file)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("kept.json", "old")]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "nowhere" / "kept.json") as part:
        part.write_text("new")


def test_parts_of_killed_writers_are_removed_and_those_of_others_are_not(tmp_path: Path) -> None:
    file = tmp_path / "kept[1].json"
    stale, fresh = tmp_path / f".{file.name}.123.tmp", tmp_path / f".{file.name}.456.tmp"
    others = tmp_path / ".other.json.123.tmp"
    for part in (stale, fresh, others):
        part.touch()
    written = fresh.stat().st_mtime - SECONDS_UNTIL_STALE - 60
    os.utime(stale, (written, written))
    with replacing(file) as part:
        part.touch()
    assert set(tmp_path.iterdir()) == {file, fresh, others}
    remove_parts(file)
    assert set(tmp_path.iterdir()) == {file, others}
