"""A file that is replaced holds all of the old or all of the new, and nothing is left beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.files import replacing

if TYPE_CHECKING:
    from pathlib import Path


def test_the_file_changes_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    file.write_text("old")
    with replacing(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("kept.json", "new")]


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
