"""Tables of scans: what they may say, and where they are wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.scans.finding import find_scans
from nnunet_genesis.scans.problems import Reason
from tests.scans.files import voxels, write_dicom_series, write_image

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "case,channel,path\n"


def test_rows_are_channels_of_cases(tmp_path: Path) -> None:
    t1 = write_image(tmp_path / "scans" / "any name.mha", voxels((3, 5, 4)))
    slices = write_dicom_series(tmp_path / "series", voxels((4, 16, 16)))
    rows: list[dict[str, str | int]] = [
        {"case": "p/1", "channel": "T2", "path": "series"},
        {"case": "p/1", "channel": 0, "path": "scans/any name.mha"},
        {"case": "gone", "channel": 0, "path": "nowhere.nii"},
        {"case": "gone", "channel": 1, "path": str(t1)},
        {"case": "half", "channel": 1, "path": str(t1)},
        {"case": "both", "channel": 0, "path": str(t1)},
    ]
    (tmp_path / "table.json").write_text(json.dumps(rows))
    lines = "".join(f'{row["case"]},{row["channel"]},"{row["path"]}"\n' for row in rows)
    (tmp_path / "table.csv").write_text("\ufeff" + HEADER + lines, encoding="utf-8")
    for table in ("table.json", "table.csv"):
        found = find_scans([tmp_path / table], num_channels=2, channel_names=["T1", "T2"])
        both, patient = found.scans
        assert both.channels == ((str(t1),),)
        assert patient.identifier.startswith("p-1-")
        assert patient.channels == ((str(t1),), tuple(str(file) for file in slices))
        assert {skipped.identifier: skipped.reason for skipped in found.skipped} == {
            "gone": Reason.UNREADABLE, "half": Reason.CHANNELS
        }  # fmt: skip


def test_folder_of_a_row_holds_exactly_one_series(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "two", voxels((4, 16, 16)), series_uid="1.2.1", prefix="a")
    write_dicom_series(tmp_path / "two", voxels((4, 16, 16)), series_uid="1.2.2", prefix="b")
    write_dicom_series(tmp_path / "gap", voxels((4, 16, 16)), skip_slices=(1,))
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text(HEADER + "two,0,two\ngap,0,gap\nempty,0,empty\n")
    found = find_scans([tmp_path / "t.csv"], num_channels=1)
    told = {skipped.identifier: (skipped.reason, skipped.detail) for skipped in found.skipped}
    assert told["two"] == (Reason.UNREADABLE, "the folder holds 2 DICOM series, expected exactly one")
    assert told["gap"][0] is Reason.MISSING_SLICES
    assert told["empty"][1] == "the folder holds 0 DICOM series, expected exactly one"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "patient,file\na,b\n", "line 1 of the table: the header is 'patient,file'"),
        ("t.csv", "", "line 1 of the table: the header is ''"),
        ("t.csv", HEADER, "names no scans"),
        ("t.csv", HEADER + "a,0,x.nii\nb,0\n", "line 3 of the table: path is empty"),
        ("t.csv", HEADER + "a,7,x.nii\n", "line 2 of the table: the channel '7' is none of 0, T1"),
        ("t.csv", HEADER + "a,-1,x.nii\n", "the channel '-1' is none of"),
        ("t.csv", HEADER + "a,0,x.nii\na,T1,y.nii\n", "line 3 .*was named in line 2 already"),
        ("t.csv", HEADER + "a,0,x,nii\n", "line 2 of the table: more than 3 values"),
        ("t.csv", HEADER + 'a,0,"x', "line 2 of the table"),
        ("t.json", "{", "the table is no JSON"),
        ("t.json", r'[{"case": "\ud800", "channel": 0, "path": "x.nii"}]', "no JSON .*half a character"),
        ("t.json", '[{"case": "a", "case": "b", "channel": 0, "path": "x.nii"}]', "the key 'case' is there twice"),
        ("t.json", '{"case": 1}', "the table is no JSON list"),
        ("t.json", '[{"case": "a"}]', "entry 1 of the table"),
        ("t.json", "[3]", "entry 1 of the table"),
    ],
)
def test_malformed_tables_say_where_and_what_is_expected(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SetupError, match=message) as raised:
        find_scans([tmp_path / name], num_channels=1, channel_names=["T1"])
    assert "case" in str(raised.value.mend)
    assert "path" in str(raised.value.mend)


def test_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SetupError, match="cannot be read"):
        find_scans([tmp_path / "t.csv"], num_channels=1)
