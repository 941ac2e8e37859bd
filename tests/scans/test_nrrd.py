"""SimpleITK's parser of NRRD headers dies of long fields; they are told before it sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.scans.headers import read_header
from nnunet_genesis.scans.problems import ScanProblem
from tests.scans.files import voxels, write_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_image(tmp_path / "scan.nrrd", voxels((4, 20, 18)))


def add(scan: Path, line: str) -> None:
    first, rest = scan.read_bytes().split(b"\n", 1)
    scan.write_bytes(b"\n".join([first, line.encode(), rest]))


@pytest.mark.parametrize(
    "line",
    [
        "dime" * 250 + "nsion: 3",
        "x" * 1000,
        "kinds: " + "domain " * 400,
        "sizes: " + "1 " * 1000,
        "measurement frame: (" + "1" * 1000 + ")",
        "data file: " + "x" * 1000,
        "thicknesses: a:=" + "1" * 5000,
    ],
    ids=lambda line: line[:20].strip(),
)
def test_fields_that_would_end_the_process_are_told(scan: Path, line: str) -> None:
    add(scan, line)
    with pytest.raises(ScanProblem, match=r"NRRD header has a line of [\d,]+ characters") as raised:
        read_header((str(scan),), 1000_000)
    assert raised.value.where == str(scan)
    assert "copy the scan again" in str(raised.value.mend)


@pytest.mark.parametrize("line", ["# " + "x" * 5000, "Segment0_Tags:=" + "x" * 5000, "content: " + "x" * 2000])
def test_what_may_be_long_is_read(scan: Path, line: str) -> None:
    add(scan, line)
    header = read_header((str(scan),), 1000_000)
    assert header is not None
    assert header.size == (18, 20, 4)
