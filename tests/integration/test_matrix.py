"""The matrix of docs/trainers.md says what the real runs said, and its rarest rows still run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.matrix import commands
from tests.integration.matrix.rows import ROWS
from tests.integration.matrix.steps import FAILS, run_row
from tests.integration.matrix.table import COLUMNS, make_tables, read_results
from tests.integration.workspace import Workspace, make_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "trainers.md"
OF_ISSUE_6 = (
    "2d", "3d_fullres, inflated from 2d", "3d_lowres", "3d_cascade_fullres", "anisotropic", "ResEnc M", "ResEnc L",
    "ResEnc XL", "four channels", "region-based", "ignore label", "-num_gpus 2",
)  # fmt: skip
TOKENS = ("_full", "_warmup", "_sawtooth", "_frozen", "_layerwise", "_scratch")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield make_workspace(tmp_path_factory.mktemp("matrix"))


def test_the_page_shows_what_the_runs_said() -> None:
    shown = re.search(r"<!-- table begins -->\n(.*)\n<!-- table ends -->", PAGE.read_text(), flags=re.DOTALL)
    assert shown, "the marks of the tables are gone"
    assert shown[1] == make_tables(read_results()), "python -m tests.integration.matrix --save prints the tables"


def test_what_is_shown_was_run_as_the_rows_say() -> None:
    assert set(OF_ISSUE_6) <= set(ROWS)
    seen = read_results()["rows"]
    tried = "".join(row.tokens for row in ROWS.values() if row.name in seen)
    assert {token for token in TOKENS if token not in tried} == set()
    assert {name for name in ROWS if name not in seen} == set()
    for row in ROWS.values():
        assert seen[row.name]["trainer"] == row.trainer, f"{row.name} was run with another trainer: run it again"
        assert set(COLUMNS) <= set(seen[row.name]), row.name


def test_no_cell_fails() -> None:
    failing = {
        (name, column)
        for name, cells in read_results()["rows"].items()
        for column, cell in cells.items()
        if cell.startswith(FAILS)
    }
    assert not failing


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3d_fullres, inflated from 2d", "3d_cascade_fullres", "-num_gpus 2"])
def test_a_row_still_runs_as_the_page_says(workspace: Workspace, name: str) -> None:
    expected = {column: read_results()["rows"][name][column] for column in COLUMNS}
    cells = run_row(workspace, ROWS[name])
    assert {column: cells.get(column) for column in COLUMNS} == expected


@pytest.mark.slow
def test_two_models_of_ours_are_compared_joined_and_postprocessed(workspace: Workspace) -> None:
    assert commands.run_commands(workspace) == read_results()["rows"][commands.NAME]
