"""A folder with every kind of broken scan: each is left out with its reason, and nothing is touched."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_genesis.scans.problems import Reason
from tests.commands import genesis
from tests.pretraining.unlabeled.planned import build, draw_scan, plan_dataset, write_scan
from tests.scans.files import write_dicom_series

if TYPE_CHECKING:
    from pathlib import Path


def write_broken_scans(folder: Path) -> dict[str, str]:
    """Write one of each kind, and say which reason it must be given, by the name of its file or folder."""
    folder.mkdir()
    not_a_number, infinite, flat = draw_scan(1), draw_scan(2), draw_scan(3)
    not_a_number[2, 3, 4], infinite[1, 1, 1], flat[:] = np.nan, -np.inf, 7
    # Not as NIfTI: there, ITK reads NaN as 0, and nnU-Net trains on that.
    write_scan(folder / "nan.mha", not_a_number)
    write_scan(folder / "infinite.nrrd", infinite)
    write_scan(folder / "constant.mha", flat)
    write_scan(folder / "label_map.nii.gz", (draw_scan(4) > 300).astype(np.uint8) + (draw_scan(4) > 500))
    write_scan(folder / "flat.nii.gz", draw_scan(5, (40, 30)), (1.0, 1.0))
    write_scan(folder / "fine_spacing.nii.gz", draw_scan(6), (1e-6, 1e-6, 1e-6))
    write_scan(folder / "large.nii.gz", draw_scan(7, (8, 60, 60)))
    volume = draw_scan(8)
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(volume)] * 3), str(folder / "time_series.nii.gz"))
    color = sitk.GetImageFromArray(np.stack([volume] * 3, axis=-1).astype(np.uint8), isVector=True)
    sitk.WriteImage(color, str(folder / "color.nrrd"))
    for number in (0, 1):
        write_scan(folder / f"second_000{number}.nii.gz", draw_scan(9 + 20 * number))
    whole = write_scan(folder / "truncated.nii", draw_scan(10))
    whole.write_bytes(whole.read_bytes()[:-2000])
    packed = write_scan(folder / "truncated_stream.nii.gz", draw_scan(11))
    packed.write_bytes(packed.read_bytes()[:-2000])
    checksum = write_scan(folder / "flipped_bit.nii.gz", draw_scan(12))
    content = bytearray(checksum.read_bytes())
    content[-6] ^= 1
    checksum.write_bytes(content)
    (folder / "text.nii.gz").write_text("not an image")
    (folder / "html.nii.gz").write_bytes(gzip.compress(b"<html>404</html>" * 100))
    (folder / "nothing.nii.gz").write_bytes(b"")
    header = write_scan(folder / "voxels_gone.mhd", draw_scan(13))
    header.with_suffix(".raw").unlink()
    slices = write_dicom_series(folder / "gap", draw_scan(14).astype(np.int16))
    slices[3].unlink()
    return {
        "nan": "not finite", "infinite": "not finite", "constant": "constant", "label_map": "few values",
        "flat": "dimensions", "time_series": "dimensions", "fine_spacing": "spacing", "large": "too large",
        "color": "channels", "second": "channels", "truncated": "unreadable", "truncated_stream": "unreadable",
        "flipped_bit": "unreadable", "text": "unreadable", "html": "unreadable", "nothing": "empty",
        "voxels_gone": "unreadable", "gap": "missing slices",
    }  # fmt: skip


def fingerprints(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_every_kind_of_broken_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    planned = plan_dataset(tmp_path, monkeypatch)
    folder = tmp_path / "in"
    expected = write_broken_scans(folder)
    before = fingerprints(folder)
    call = ["preprocess-unlabeled", "-d", "777", "-i", str(folder), "--name", "mine", "-np", "2"]
    call += ["--max-voxels", "20000"]
    assert genesis(*call) == 1, "nothing is left"
    assert "error: pool mine is empty: " in capfd.readouterr().err
    write_scan(folder / "good.nii.gz", draw_scan(0))
    before = {**before, **fingerprints(folder)}
    code, said = genesis(*call), capfd.readouterr()
    assert code == 0, said.err
    with (planned.pools_folder / "mine" / "report.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    found = {row["identifier"].split(".")[0]: (row["reason"], row["detail"]) for row in rows}
    reasons = {name: reason for name, (reason, _) in found.items()}
    for name, reason in expected.items():
        matching = [key for key in reasons if key == name or key.startswith((f"{name}_", f"{name}-", f"{name}__"))]
        assert [reasons[key] for key in matching[:1]] == [reason], f"{name}: {found}"
    assert len(rows) == len(expected)
    assert all(row["detail"] and os.path.exists(row["source"].split(" (")[0].split("; ")[0]) for row in rows)  # noqa: PTH110
    assert [file.name for file in (planned.pools_folder / "mine").glob("*.b2nd")] == ["good.b2nd"]
    assert fingerprints(folder) == before, "source files are only read"
    assert "1 new, 0 done before" in said.out
    assert "WARNING" not in said.err.upper().replace("WARNINGS", ""), "readers are silent"
    assert genesis(*call, "--strict") == 1
    error = capfd.readouterr().err
    assert f"error: --strict: {len(expected)} scans cannot be used" in error
    assert "constant: constant: " in error


NOTHING_LEFT = {
    # Below every clip bound: air that was exported without the patient.
    "CTNormalization": (draw_scan(1) - 1e5, Reason.CONSTANT, "every channel is constant after normalisation: -"),
    # Finite voxels whose range is not.
    "RescaleTo01Normalization": (
        np.sign(draw_scan(1) - 300) * (3e38 + 1e35 * draw_scan(2) / 300),
        Reason.NOT_FINITE,
        "it is not finite after normalisation",
    ),
}


@pytest.mark.parametrize("scheme", NOTHING_LEFT)
def test_scans_that_normalisation_leaves_nothing_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    scan, reason, detail = NOTHING_LEFT[scheme]
    planned = plan_dataset(tmp_path, monkeypatch, scheme=scheme)
    write_scan(tmp_path / "in" / "good.mha", draw_scan(0))
    write_scan(tmp_path / "in" / "bad.mha", scan.astype(np.float32))
    (skipped,) = build(planned, tmp_path / "in").skipped
    assert (skipped.identifier, skipped.reason) == ("bad", reason)
    assert skipped.detail.startswith(detail)
