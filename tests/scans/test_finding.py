"""Finding: what is a scan, what belongs together, what is left out and why."""

from __future__ import annotations

import errno
import shutil
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.scans import dicom
from nnunet_genesis.scans.dicom_headers import read_slice_header
from nnunet_genesis.scans.finding import FoundScans, find_scans
from nnunet_genesis.scans.problems import Reason
from tests.scans.files import voxels, write_dicom_series, write_image

SMALL = (3, 5, 4)


def image(file: Path) -> Path:
    return write_image(file, voxels(SMALL))


def names(found: FoundScans) -> list[str]:
    return [scan.identifier for scan in found.scans]


def reasons(found: FoundScans) -> dict[str, Reason]:
    return {skipped.identifier: skipped.reason for skipped in found.skipped}


def test_all_formats_are_found_whatever_the_case_of_the_ending(tmp_path: Path) -> None:
    for ending in (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"):
        image(tmp_path / "deep" / "er" / f"x{ending.replace('.', '')}{ending}")
    image(tmp_path / "upper.nii.gz").rename(tmp_path / "upper.NII.GZ")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "picture.png").write_bytes(b"x")
    (tmp_path / ".hidden.nii.gz").write_bytes(b"x")
    looked_at: list[int] = []
    found = find_scans([tmp_path], num_channels=1, progress=looked_at.append)
    assert names(found) == sorted(
        ["upper", *(f"deep__er__x{e}" for e in ("nii", "niigz", "nrrd", "nhdr", "mha", "mhd"))]
    )
    assert found.other_files == 4  # text, picture and the voxels of .mhd and .nhdr
    assert found.skipped == []
    assert looked_at[-1] == len(found.scans) + found.other_files
    assert any("1 hidden" in note for note in found.notes)
    assert "picture" in names(find_scans([tmp_path], num_channels=1, endings=frozenset({".PNG"})))


def test_numbered_files_are_channels(tmp_path: Path) -> None:
    for name in ("full_0000", "full_0001", "first_0000", "second_0001", "three_0000", "three_0001", "three_0002"):
        image(tmp_path / f"{name}.nii.gz")
    image(tmp_path / "both.nii.gz")
    found = find_scans([tmp_path], num_channels=2)
    assert names(found) == ["both", "full"]
    assert found.scans[1].channels == tuple((str(tmp_path / f"full_000{n}.nii.gz"),) for n in (0, 1))
    assert reasons(found) == dict.fromkeys(["first", "second", "three"], Reason.CHANNELS)
    details = {skipped.identifier: skipped.detail for skipped in found.skipped}
    assert details["first"].endswith("there: 0000; missing: 0001")
    assert details["second"].endswith("there: 0001; missing: 0000")
    assert details["three"].endswith("too many: 0002")


def test_numbered_cases_are_no_channels(tmp_path: Path) -> None:
    for number in (1, 2, 150):
        image(tmp_path / f"ct_{number:04d}.nii.gz")
    found = find_scans([tmp_path], num_channels=1)
    assert names(found) == ["ct_0001", "ct_0002", "ct_0150"]
    assert "taken as 3 scans" in found.notes[0]


def test_plans_may_have_more_channels_than_numbered_cases_need(tmp_path: Path) -> None:
    for number in range(24):
        image(tmp_path / f"spectrum_{number:04d}.nii.gz")
    found = find_scans([tmp_path], num_channels=24)
    assert names(found) == ["spectrum"]
    assert found.notes == []


def test_numbers_are_no_channels_where_one_is_expected_and_the_first_is_missing(tmp_path: Path) -> None:
    for number in range(1, 20):
        image(tmp_path / f"scan_{number:04d}.nii.gz")
    image(tmp_path / "other_0003.nii.gz")
    found = find_scans([tmp_path], num_channels=1)
    assert names(found) == ["other_0003", *(f"scan_{number:04d}" for number in range(1, 20))]
    assert found.skipped == []
    (note,) = found.notes
    assert note.startswith(f"{tmp_path}: 20 files end in a number")
    image(tmp_path / "scan_0000.nii.gz")
    (skipped,) = find_scans([tmp_path], num_channels=1).skipped
    assert skipped.reason is Reason.CHANNELS
    assert skipped.source.split("; ") == [str(tmp_path / f"scan_{number:04d}.nii.gz") for number in range(20)]
    assert "table" in skipped.mend


def test_only_images_of_a_raw_dataset_are_taken(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "other"):
        image(tmp_path / "Dataset001_X" / folder / "x_0000.nii.gz")
    image(tmp_path / "elsewhere" / "labelsTr" / "x.nii.gz")
    (tmp_path / "Dataset001_X" / "dataset.json").write_text("{}")
    found = find_scans([tmp_path], num_channels=1)
    assert names(found) == ["Dataset001_X__imagesTr__x"]
    notes = "\n".join(found.notes)
    for left_out in ("Dataset001_X/labelsTr", "Dataset001_X/labelsTs", "Dataset001_X/other", "elsewhere/labelsTr"):
        assert f"{tmp_path / left_out} is left out" in notes
    assert "--imagesTs" in notes
    assert names(find_scans([tmp_path / "Dataset001_X" / "imagesTs"], num_channels=1)) == ["x"]
    assert names(find_scans([tmp_path / "Dataset001_X" / "labelsTr"], num_channels=1)) == []


def test_links_are_followed_once(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a" / "x.nii.gz")
    (tmp_path / "in" / "a" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "b").symlink_to(tmp_path / "in" / "a")
    (tmp_path / "in" / "link.nii.gz").symlink_to(tmp_path / "in" / "a" / "x.nii.gz")
    (tmp_path / "in" / "gone.nii.gz").symlink_to(tmp_path / "nowhere")
    found = find_scans([tmp_path / "in", tmp_path / "in" / "a"], num_channels=1)
    assert names(found) == ["a__x", "link"]
    assert list(reasons(found).values()) == [Reason.UNREADABLE]
    assert found.skipped[0].detail == "a link to nothing"


def test_folder_that_cannot_be_listed_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    image(tmp_path / "a" / "x.nii.gz")
    image(tmp_path / "b" / "y.nii.gz")
    listing = os.scandir

    def refuse(folder: Path) -> object:
        if folder == tmp_path / "a":
            raise PermissionError(13, "Permission denied", str(folder))
        return listing(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_scans([tmp_path], num_channels=1)
    assert names(found) == ["b__y"]
    assert reasons(found) == {"a": Reason.UNREADABLE}
    assert "Permission denied" in found.skipped[0].detail


def test_a_link_that_cannot_be_followed_takes_nothing_else_along(tmp_path: Path) -> None:
    image(tmp_path / "x.nii.gz")
    image(tmp_path / "below" / "y.nii.gz")
    (tmp_path / "below" / "loop").symlink_to("loop")
    (tmp_path / "loop").symlink_to("loop")
    found = find_scans([tmp_path], num_channels=1)
    assert names(found) == ["below__y", "x"]
    assert reasons(found) == {"below__loop": Reason.UNREADABLE, "loop": Reason.UNREADABLE}
    assert [skipped.source for skipped in found.skipped] == [str(tmp_path / "below" / "loop"), str(tmp_path / "loop")]
    assert all("Too many levels of symbolic links" in skipped.detail for skipped in found.skipped)


def test_inputs_that_are_missing_or_no_images_are_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no file or folder"):
        find_scans([tmp_path / "nowhere"], num_channels=1)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(SetupError, match="this is no image"):
        find_scans([tmp_path / "x.txt"], num_channels=1)


def test_single_files_and_equal_names_below_two_inputs(tmp_path: Path) -> None:
    files = [image(tmp_path / "a" / f"x_000{number}.nii.gz") for number in (0, 1)]
    assert names(find_scans(files, num_channels=2)) == ["x"]
    image(tmp_path / "b" / "y.nii.gz")
    image(tmp_path / "c" / "y.nii.gz")
    both = find_scans([tmp_path / "b", tmp_path / "c"], num_channels=1)
    assert len(set(names(both))) == 2
    assert names(both) == names(find_scans([tmp_path / "c", tmp_path / "b"], num_channels=1))


def test_files_that_are_named_themselves_are_found_once(tmp_path: Path) -> None:
    files = [image(tmp_path / "a" / f"{name}.nii.gz") for name in ("x", "y")]
    hidden = image(tmp_path / "a" / ".z.nii.gz")
    found = find_scans([files[0], tmp_path / "a", files[1], files[1], hidden], num_channels=1)
    assert sorted(scan.channels[0][0] for scan in found.scans) == sorted(map(str, [*files, hidden]))
    assert names(find_scans([files[0], files[0]], num_channels=1)) == ["x"]


def test_of_files_that_were_looked_at_nothing_stays_in_memory(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / f"a folder of an archive with a long name {number}"
        folder.mkdir()
        for file in range(100):
            (folder / f"a file with a long name {file}.txt").touch()
    find_scans([tmp_path], num_channels=1)  # what is loaded and compiled once does not count
    tracemalloc.start()
    found = find_scans([tmp_path], num_channels=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.other_files == 2000
    assert peak < 100 * 2000, "bytes"


def test_several_series_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "patient"
    write_dicom_series(folder, voxels((5, 16, 16)), series_uid="1.2.1", prefix="a")
    write_dicom_series(folder, voxels((4, 16, 16)), series_uid="1.2.2", prefix="b")
    write_dicom_series(folder, voxels((6, 8, 16)), series_uid="1.2.2", prefix="c")
    found = find_scans([tmp_path / "in"], num_channels=1)
    assert sorted(len(scan.channels[0]) for scan in found.scans) == [4, 5, 6]
    assert all(scan.identifier.startswith("patient__series-") for scan in found.scans)
    assert found.scans == find_scans([tmp_path / "in"], num_channels=1).scans
    refused = find_scans([tmp_path / "in"], num_channels=2)
    assert set(reasons(refused).values()) == {Reason.CHANNELS}


def test_planes_of_one_series_that_lie_across_are_a_stack_of_their_own(tmp_path: Path) -> None:
    """Scouts often share the series of the scan that they were made for."""
    import pydicom

    write_dicom_series(tmp_path / "patient", voxels((8, 16, 16)), prefix="axial")
    for file in write_dicom_series(tmp_path / "patient", voxels((3, 16, 16)), prefix="sagittal"):
        header = pydicom.dcmread(file)
        header.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        header.ImagePositionPatient = [header.ImagePositionPatient[2], 0, 0]
        header.save_as(file)
    found = find_scans([tmp_path], num_channels=1)
    assert sorted(len(scan.channels[0]) for scan in found.scans) == [3, 8]
    assert found.skipped == []


def test_directions_that_are_no_directions_are_told(tmp_path: Path) -> None:
    import pydicom

    for file in write_dicom_series(tmp_path / "patient", voxels((5, 16, 16))):
        header = pydicom.dcmread(file)
        header.ImageOrientationPatient = [0, 0, 0, 0, 0, 0]
        header.save_as(file)
    found = find_scans([tmp_path], num_channels=1)
    assert reasons(found) == {"patient": Reason.UNREADABLE}
    assert found.skipped[0].detail == "the positions or directions of the slices are no numbers"


def test_a_series_that_lies_in_two_folders_is_told(tmp_path: Path) -> None:
    files = write_dicom_series(tmp_path / "one", voxels((8, 16, 16)), series_uid="1.2.1")
    write_dicom_series(tmp_path / "other", voxels((8, 16, 16)), series_uid="1.2.2")
    assert find_scans([tmp_path], num_channels=1).notes == []
    (tmp_path / "two").mkdir()
    for file in files[5:]:
        file.rename(tmp_path / "two" / file.name)
    found = find_scans([tmp_path], num_channels=1)
    assert names(found) == ["one", "other", "two"]
    (note,) = found.notes
    assert note.startswith(
        f"1 DICOM series lie in several folders each, e.g. in {tmp_path / 'one'} and {tmp_path / 'two'}:"
    )


def test_headers_of_a_folder_are_read_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_dicom_series(tmp_path / "one", voxels((4, 16, 16)))
    together = threading.Barrier(len(files), timeout=30)

    def read_together(path: str) -> object:
        together.wait()
        return read_slice_header(path)

    monkeypatch.setattr(dicom, "read_slice_header", read_together)
    found = find_scans([tmp_path], num_channels=1)
    assert (names(found), found.skipped) == (["one"], [])
    assert found.scans[0].channels == (tuple(map(str, files)),)


def test_slices_are_ordered_by_position_and_files_need_no_ending(tmp_path: Path) -> None:
    files = write_dicom_series(tmp_path / "patient", voxels((9, 16, 16)))
    renamed = [file.rename(file.with_name(f"1.2.840.{index * 5 % 9}")) for index, file in enumerate(files)]
    (tmp_path / "patient" / "README").write_text("no DICOM")
    found = find_scans([tmp_path], num_channels=1)
    assert names(found) == ["patient"]
    assert found.scans[0].channels == (tuple(str(file) for file in renamed),)
    assert found.scans[0].sources() == [f"{tmp_path / 'patient'} (9 slices)"]
    assert found.other_files == 1


@pytest.mark.parametrize(
    ("options", "reason", "detail"),
    [
        ({"skip_slices": (3,)}, Reason.MISSING_SLICES, "a gap of 6 mm between slices 3 and 4 of 7, usually 3 mm"),
        ({"skip_slices": (0, 7)}, None, ""),
        ({"jitter": {4: 0.4}}, Reason.UNEVEN_SLICES, "slices 4 and 5 are 3.4 mm apart, usually 3 mm"),
        ({"jitter": {4: 0.1}}, None, ""),
        ({"volumes": 2}, Reason.DIMENSIONS, "16 slices at only 8 positions"),
        ({"positions": False}, Reason.UNREADABLE, "no slice positions"),
    ],
)
def test_geometry_of_series(tmp_path: Path, options: dict[str, object], reason: Reason | None, detail: str) -> None:
    write_dicom_series(tmp_path / "patient", voxels((8, 16, 16)), **options)  # type: ignore[arg-type]
    found = find_scans([tmp_path], num_channels=1)
    if reason is None:
        assert names(found) == ["patient"]
    else:
        assert reasons(found) == {"patient": reason}
        assert found.skipped[0].detail.startswith(detail)


def test_damaged_and_other_dicom_files(tmp_path: Path) -> None:
    import pydicom
    from pydicom.uid import BasicTextSRStorage

    files = write_dicom_series(tmp_path / "patient", voxels((4, 16, 16)))
    report = pydicom.dcmread(files[0], stop_before_pixels=True)
    del report.Rows, report.Columns
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(tmp_path / "patient" / "report.dcm")
    (tmp_path / "patient" / "cut.dcm").write_bytes(files[0].read_bytes()[:300])
    (tmp_path / "patient" / "empty.dcm").write_bytes(b"")
    found = find_scans([tmp_path], num_channels=1)
    assert names(found) == ["patient"]
    assert reasons(found) == {"patient__cut": Reason.UNREADABLE, "patient__empty": Reason.UNREADABLE}
    assert found.other_files == 1


@pytest.mark.parametrize("ending", [".dcm", ""])
def test_a_series_is_not_judged_while_one_of_its_slices_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    files = write_dicom_series(tmp_path / "patient", voxels((8, 16, 16)))
    if not ending:
        files = [file.rename(file.with_suffix("")) for file in files]
    opening = Path.open

    def refuse(path: Path, *arguments: Any) -> Any:
        if path == files[-1]:  # without the last slice, the others would pass for a whole volume
            raise OSError(errno.EIO, "Input/output error", str(path))
        return opening(path, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    found = find_scans([tmp_path], num_channels=1)
    assert (found.scans, [skipped.is_passing for skipped in found.skipped]) == ([], [True, True])
    assert found.skipped[0].source == f"{tmp_path / 'patient'} (7 slices)"
    told = f"1 file(s) of its folder that may be slices cannot be read, e.g. {files[-1]}"
    assert (found.skipped[0].reason, found.skipped[0].detail) == (Reason.UNREADABLE, told)
    monkeypatch.undo()
    assert names(find_scans([tmp_path], num_channels=1)) == ["patient"]


def test_names_of_files_that_are_hostile(tmp_path: Path) -> None:
    source = image(tmp_path / "x.nii.gz")
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("new\nline", "ümlaut", "x" * 248, "case_seg", "a b", "con", "plain"):
        shutil.copy(source, folder / f"{name}.nii.gz")
    found = find_scans([folder], num_channels=1)
    assert len(set(names(found))) == len(found.scans) == 7
