"""The table of docs/weights.md says what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.transfer.matrix import SOURCES, TARGETS, make_table

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"


@pytest.fixture(scope="module")
def cells() -> dict[tuple[str, str], str]:
    """Source and target to what happens."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in make_table().splitlines()[2:]]
    return {(row[0], target): cell for row in rows for target, cell in zip(TARGETS, row[1:], strict=True)}


def test_the_page_shows_the_table_of_this_version() -> None:
    shown = re.search(r"<!-- table begins -->\n(.*)\n<!-- table ends -->", PAGE.read_text(), flags=re.DOTALL)
    assert shown, "the marks of the table are gone"
    assert shown[1] == make_table(), "python -m tests.transfer.matrix makes the table"


def test_every_plain_file_fills_the_whole_encoder_of_every_plain_network(cells: dict[tuple[str, str], str]) -> None:
    residual = {"nnunet-genesis, ResEnc M", "nnssl, ResEnc L"}
    for source in SOURCES:
        for target in TARGETS:
            same_family = (source in residual) == target.startswith("ResEnc")
            assert ("refused" in cells[source, target]) != same_family, (source, target)
            if same_family and (source, target) != ("nnunet-genesis, ResEnc M", "ResEnc L"):
                assert "100 %" in cells[source, target], (source, target)


def test_where_only_channels_differ_the_features_are_equal(cells: dict[tuple[str, str], str]) -> None:
    compared = {pair: cell for pair, cell in cells.items() if ";" in cell}
    assert len(compared) >= 15
    assert all(cell.endswith("; < 1e-05") for cell in compared.values()), compared
