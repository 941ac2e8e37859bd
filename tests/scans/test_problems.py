"""Problems and scans cross process boundaries, and signatures notice what was touched."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.errors import DataError
from nnunet_genesis.scans.problems import Reason, ScanProblem
from nnunet_genesis.scans.scan import Scan
from tests.scans.files import voxels, write_image

if TYPE_CHECKING:
    from pathlib import Path


def test_problem_survives_pickling() -> None:
    problem = ScanProblem(Reason.SPACING, "spacing 0 mm", where="x.nii", mend="correct it", is_passing=True)
    copy = pickle.loads(pickle.dumps(problem))
    assert isinstance(copy, ScanProblem)
    assert isinstance(copy, DataError)
    assert (copy.reason, copy.problem, copy.where, copy.mend, str(copy), copy.is_passing) == (
        Reason.SPACING, "spacing 0 mm", "x.nii", "correct it", str(problem), True
    )  # fmt: skip
    assert f"{Reason.FEW_VALUES}" == "few values"


@pytest.mark.parametrize("ending", [".nii.gz", ".mhd", ".nhdr"])
def test_signature_follows_all_files_of_a_scan(tmp_path: Path, ending: str) -> None:
    file = write_image(tmp_path / f"x{ending}", voxels((3, 5, 4)))
    scan = Scan("x", ((str(file),),))
    signature = scan.signature()
    assert signature == Scan("other name", scan.channels).signature()
    assert scan.sources() == [str(file)]
    for touched in sorted(tmp_path.iterdir()):
        os.utime(touched, ns=(1, touched.stat().st_mtime_ns + 1))
        assert scan.signature() != signature
        signature = scan.signature()
    file.unlink()
    with pytest.raises(ScanProblem) as raised:
        scan.signature()
    assert raised.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("named", ["LIST", "LOCAL", "slice%03d.raw 1 3 1"])
def test_voxels_in_files_that_a_header_does_not_name_one_by_one_are_not_looked_for(tmp_path: Path, named: str) -> None:
    file = tmp_path / "x.mhd"
    file.write_text(f"NDims = 3\nElementDataFile = {named}\n")
    assert Scan("x", ((str(file),),)).signature()
