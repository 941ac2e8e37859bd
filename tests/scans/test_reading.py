"""Reading: the same array as nnU-Net's reader gives, and a reason for everything that cannot be used."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile
from nibabel import nifti1
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunet_genesis.scans import nifti, reading
from nnunet_genesis.scans.finding import find_scans
from nnunet_genesis.scans.problems import Reason, ScanProblem
from nnunet_genesis.scans.reading import ReadingRules, read_scan
from nnunet_genesis.scans.scan import Scan
from nnunet_genesis.scans.voxel_hash import scan_key
from tests.real_data import real_data_folder
from tests.scans.files import (
    RULES,
    SPACING,
    broken_scans,
    voxels,
    write_dicom_series,
    write_frames,
    write_image,
    write_nifti,
)

if TYPE_CHECKING:
    import numpy.typing as npt

SHAPES = [(16, 256, 256), (3, 5, 4)]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def read(
    files: Path | list[Path], scratch: Path, reader: Any = None, rules: ReadingRules = RULES
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    channel = tuple(str(file) for file in ([files] if isinstance(files, Path) else files))
    return read_scan(Scan("case", (channel,)), reader or SimpleITKIO(), rules, scratch)


def read_one(folder: Path, scratch: Path, rules: ReadingRules = RULES) -> npt.NDArray[np.float32]:
    """Find the only scan of a folder, and read it."""
    (scan,) = find_scans([folder], num_channels=rules.num_channels).scans
    return read_scan(scan, SimpleITKIO(), rules, scratch)[0]


def problem_of(folder: Path, name: str, scratch: Path, reader: Any) -> tuple[Reason, str]:
    """Reason and detail of a broken scan, whether finding or reading sees it."""
    found = find_scans([folder], num_channels=RULES.num_channels)
    for skipped in found.skipped:
        if skipped.source.startswith(str(folder / name)):
            return skipped.reason, skipped.detail
    (scan,) = [
        scan
        for scan in found.scans
        if scan.channels[0][0] == str(folder / name) or Path(scan.channels[0][0]).parent == folder / name
    ]
    with pytest.raises(ScanProblem) as raised:
        read_scan(scan, reader, RULES, scratch)
    return raised.value.reason, raised.value.problem


@pytest.mark.parametrize("reader", [SimpleITKIO(), NibabelIO()])
def test_every_broken_scan_has_its_reason_and_no_temporary_file_stays(
    tmp_path: Path, scratch: Path, reader: Any
) -> None:
    folder = tmp_path / "raw"
    expected = broken_scans(folder)
    before = contents(folder)
    found = {name: problem_of(folder, name, scratch, reader) for name in expected}
    assert {name: reason for name, (reason, _) in found.items()} == expected
    assert all(detail and "\n" not in detail for _, detail in found.values())
    assert contents(folder) == before
    assert list(scratch.iterdir()) == []


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


FORMATS = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", "dicom", "JPEG"]


@pytest.mark.parametrize(
    ("ending", "shape"),
    # SimpleITK's encoder of JPEG 2000 (not its decoder) ends the process on planes smaller than 16 x 16.
    [*((ending, shape) for ending in FORMATS for shape in SHAPES), ("JPEG2000", SHAPES[0])],
)
def test_every_format_gives_what_nnunet_reads_from_nii_gz(
    tmp_path: Path, scratch: Path, ending: str, shape: tuple[int, ...]
) -> None:
    array = voxels(shape)
    expected, properties = SimpleITKIO().read_images([str(write_image(tmp_path / "x.nii.gz", array))])
    if ending.startswith("."):
        image, read_properties = read(write_image(tmp_path / f"y{ending}", array), scratch)
    else:
        compressed = False if ending == "dicom" else ending
        write_dicom_series(tmp_path / "series", array, compressed=compressed)
        (scan,) = find_scans([tmp_path / "series"], num_channels=1).scans
        image, read_properties = read_scan(scan, SimpleITKIO(), RULES, scratch)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_allclose(read_properties["spacing"], properties["spacing"], rtol=1e-6)
    assert scan_key(image) == scan_key(array[None])


@pytest.mark.parametrize(
    ("compressor", "syntax"),
    [("JPEG", "1.2.840.10008.1.2.4.70"), ("JPEG2000", "1.2.840.10008.1.2.4.90")],
)
def test_compressed_series_are_compressed(tmp_path: Path, compressor: str, syntax: str) -> None:
    file = write_dicom_series(tmp_path, voxels((3, 16, 16)), compressed=compressor)[0]
    assert pydicom.dcmread(file).file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize("reader", [NibabelIO(), NibabelIOWithReorient(), Tiff3DIO()])
@pytest.mark.parametrize("source", [".nrrd", ".mha", "dicom"])
def test_other_readers_get_the_same_volume(tmp_path: Path, scratch: Path, reader: Any, source: str) -> None:
    array = voxels((8, 20, 16))
    if source == "dicom":
        image, properties = read(write_dicom_series(tmp_path / "series", array), scratch, reader)
    else:
        image, properties = read(write_image(tmp_path / f"x{source}", array), scratch, reader)
    assert image.shape == (1, 8, 20, 16)
    assert scan_key(image) == scan_key(array[None])
    np.testing.assert_allclose(properties["spacing"], SPACING, rtol=1e-6)
    if isinstance(reader, NibabelIO | NibabelIOWithReorient):
        nifti, _ = reader.read_images([str(write_image(tmp_path / "x.nii.gz", array))])
        np.testing.assert_array_equal(image, nifti)


def test_several_channels_as_files_and_as_volumes_of_one_file(tmp_path: Path, scratch: Path) -> None:
    rules = dataclasses.replace(RULES, num_channels=4)
    array = voxels((4, 6, 10, 12))
    for number, channel in enumerate(array):
        write_image(tmp_path / "files" / f"x_{number:04d}.nii.gz", channel)
    from_files = read_one(tmp_path / "files", scratch, rules)
    np.testing.assert_array_equal(from_files, array)
    for ending in (".nii.gz", ".nii", ".mha"):
        folder = tmp_path / ending.removeprefix(".")
        write_image(folder / f"x{ending}", array)
        np.testing.assert_array_equal(read_one(folder, scratch, rules), array)
    mixed = Scan(
        "mixed",
        tuple(
            (str(write_image(tmp_path / "mixed" / f"{n}{e}", array[n])),)
            for n, e in enumerate((".nii", ".mha", ".mhd", ".nrrd"))
        ),
    )
    np.testing.assert_array_equal(read_scan(mixed, SimpleITKIO(), rules, scratch)[0], array)


def test_channels_that_differ_in_size_or_number_are_refused(tmp_path: Path, scratch: Path) -> None:
    rules = dataclasses.replace(RULES, num_channels=2)
    first, second = (str(write_image(tmp_path / f"{n}.nii.gz", voxels((6, 10, n)))) for n in (12, 13))
    with pytest.raises(ScanProblem, match="12 x 10 x 6, 13 x 10 x 6") as raised:
        read_scan(Scan("x", ((first,), (second,))), SimpleITKIO(), rules, scratch)
    assert raised.value.reason is Reason.CHANNELS
    with pytest.raises(ScanProblem, match="missing: 0001") as raised:
        read_scan(Scan("x", ((first,),)), SimpleITKIO(), rules, scratch)
    assert raised.value.reason is Reason.CHANNELS
    other = str(write_image(tmp_path / "other.nii.gz", voxels((6, 10, 12)), (3, 1, 1)))
    with pytest.raises(ScanProblem, match=r"differ in spacing: 0\.5 x 0\.75 x 3, 1 x 1 x 3 mm") as raised:
        read_scan(Scan("x", ((first,), (other,))), SimpleITKIO(), rules, scratch)
    assert raised.value.reason is Reason.CHANNELS
    assert raised.value.mend


def write_tiff(file: Path, array: npt.NDArray[Any], spacing: list[float] | None = None, name: str = "") -> str:
    tifffile.imwrite(file, array, photometric="minisblack")
    if spacing is not None:
        file.with_name(f"{name or file.stem}.json").write_text(json.dumps({"spacing": spacing}))
    return str(file)


@pytest.mark.parametrize("name", ["scan_12.tif", "a.TIF", "scan_12.tiff", "case_0000.tif"])
def test_a_tiff_volume_has_the_spacing_that_lies_beside_it(tmp_path: Path, scratch: Path, name: str) -> None:
    array = voxels((6, 10, 12))
    file = write_tiff(tmp_path / name, array, [3, 0.5, 0.5], "case" if "case" in name else "")
    scan = Scan("case", ((file,),))
    signature = scan.signature()
    image, properties = read_scan(scan, Tiff3DIO(), RULES, scratch)
    np.testing.assert_array_equal(image, array[None])
    assert list(properties["spacing"]) == [3, 0.5, 0.5]
    (beside,) = tmp_path.glob("*.json")
    beside.write_text('{"spacing": [2.5, 0.5, 0.5]}')
    assert scan.signature() != signature, "a corrected spacing makes the case anew"
    beside.write_text('{"spacing": "none"}')
    with pytest.raises(ScanProblem, match=f"its file {beside.name} holds no spacing") as raised:
        read_scan(scan, Tiff3DIO(), RULES, scratch)
    assert raised.value.reason is Reason.SPACING


def test_a_tiff_volume_without_a_spacing_is_taken_only_where_the_plans_have_1_mm(tmp_path: Path, scratch: Path) -> None:
    file = write_tiff(tmp_path / "scan_12.tif", voxels((6, 10, 12)))
    (tmp_path / "sc.json").write_text('{"spacing": [9, 9, 9]}')  # what is left where five letters more are cut off
    _, properties = read(Path(file), scratch, Tiff3DIO())
    assert list(properties["spacing"]) == [1, 1, 1]
    with pytest.raises(ScanProblem, match="without a file that says its spacing") as raised:
        read(Path(file), scratch, Tiff3DIO(), dataclasses.replace(RULES, spacing=(3.0, 1.0, 1.0)))
    assert raised.value.reason is Reason.SPACING
    assert raised.value.mend is not None
    command = raised.value.mend.partition(": ")[2]
    assert command == f"echo '{{\"spacing\": [3, 0.5, 0.5]}}' > {tmp_path / 'scan_12.json'}"
    subprocess.run(command, shell=True, check=True)
    _, properties = read(Path(file), scratch, Tiff3DIO(), dataclasses.replace(RULES, spacing=(3.0, 1.0, 1.0)))
    assert list(properties["spacing"]) == [3, 0.5, 0.5]


def test_channels_of_a_tiff_volume_share_a_spacing(tmp_path: Path, scratch: Path) -> None:
    rules = dataclasses.replace(RULES, num_channels=2)
    arrays = voxels((2, 6, 10, 12))
    files = [write_tiff(tmp_path / f"x_{n:04d}.tif", array, [3, 0.5, 0.5], "x") for n, array in enumerate(arrays)]
    image, properties = read_scan(Scan("x", tuple((file,) for file in files)), Tiff3DIO(), rules, scratch)
    np.testing.assert_array_equal(image, arrays)
    assert list(properties["spacing"]) == [3, 0.5, 0.5]
    (tmp_path / "x_0000.json").write_text('{"spacing": [9, 9, 9]}')  # nnU-Net does not look at it
    _, properties = read_scan(Scan("x", tuple((file,) for file in files)), Tiff3DIO(), rules, scratch)
    assert list(properties["spacing"]) == [3, 0.5, 0.5]
    (tmp_path / "x_0000.json").unlink()
    other = write_tiff(tmp_path / "other.tif", arrays[1], [3, 1, 1])
    with pytest.raises(ScanProblem, match="differ in spacing"):
        read_scan(Scan("x", ((files[0],), (other,))), Tiff3DIO(), rules, scratch)


def test_channels_that_lie_elsewhere_are_refused(tmp_path: Path, scratch: Path) -> None:
    rules = dataclasses.replace(RULES, num_channels=2)
    first = sitk.GetImageFromArray(voxels((12, 12, 12)))
    first.SetOrigin((-30.5, 20.25, 7.0))

    def read_with(reader: Any = None, **header: Any) -> None:
        second = sitk.GetImageFromArray(voxels((12, 12, 12), seed=1))
        second.CopyInformation(first)
        for name, value in header.items():
            getattr(second, f"Set{name}")(value)
        files = [str(tmp_path / f"{name}.nii.gz") for name in ("first", "second")]
        for file, channel in zip(files, (first, second), strict=True):
            sitk.WriteImage(channel, file)
        read_scan(Scan("x", tuple((file,) for file in files)), reader or SimpleITKIO(), rules, scratch)

    read_with()
    read_with(Origin=(-30.4, 20.25, 7.0))  # a tenth of a voxel
    moved = {"Origin": (-30.5, 20.25, 19.5)}
    permuted = {"Direction": (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)}
    flipped = {"Origin": (-30.5, 20.25, 18.0), "Direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)}
    for header, apart in ((moved, "12.5"), (permuted, "15.56"), (flipped, "11")):
        for reader in (SimpleITKIO(), NibabelIO()):
            with pytest.raises(ScanProblem, match=f"voxels of channel 1 lie up to {apart} mm from those of") as raised:
                read_with(reader, **header)
            assert raised.value.reason is Reason.CHANNELS
    read_with(NibabelIOWithReorient(), **permuted)
    read_with(NibabelIOWithReorient(), **flipped)
    with pytest.raises(ScanProblem, match="differ in origin or direction"):
        read_with(NibabelIOWithReorient(), **moved)


def test_a_shift_is_judged_by_the_shortest_side_of_a_voxel(tmp_path: Path, scratch: Path) -> None:
    """1.2 mm are little beside slices of 3 mm, and more than two voxels within them."""
    rules = dataclasses.replace(RULES, num_channels=2)
    files = [write_image(tmp_path / f"{name}.nii.gz", voxels((8, 20, 16))) for name in ("first", "second")]
    moved = sitk.ReadImage(str(files[1]))
    moved.SetOrigin([moved.GetOrigin()[0] + 1.2, *moved.GetOrigin()[1:]])
    sitk.WriteImage(moved, str(files[1]))
    with pytest.raises(ScanProblem, match=r"voxels of channel 1 lie up to 1\.2 mm from those of channel 0"):
        read_scan(Scan("x", tuple((str(file),) for file in files)), SimpleITKIO(), rules, scratch)


def test_a_series_lies_where_its_slices_say(tmp_path: Path, scratch: Path) -> None:
    rules = dataclasses.replace(RULES, num_channels=2)
    array = voxels((8, 20, 16))
    series = tuple(str(file) for file in write_dicom_series(tmp_path / "series", array))
    same = str(write_image(tmp_path / "same.nii.gz", array))  # at the same origin
    image, _ = read_scan(Scan("x", (series, (same,))), SimpleITKIO(), rules, scratch)
    np.testing.assert_array_equal(image, np.stack([array, array]))
    with pytest.raises(ScanProblem, match="voxels of channel 1 lie up to 21 mm from those of channel 0"):
        read_scan(Scan("x", (series, series[::-1])), SimpleITKIO(), rules, scratch)


def test_one_channel_that_holds_something_is_enough(tmp_path: Path, scratch: Path) -> None:
    rules = dataclasses.replace(RULES, num_channels=2)
    whole = voxels((12, 20, 16))
    kinds = {"whole": whole, "mask": (whole > 0).astype(np.int16), "absent": np.zeros_like(whole)}
    files = {name: str(write_image(tmp_path / f"{name}.nii.gz", array)) for name, array in kinds.items()}

    def read_pair(first: str, second: str) -> npt.NDArray[np.float32]:
        return read_scan(Scan("x", ((files[first],), (files[second],))), SimpleITKIO(), rules, scratch)[0]

    for other in ("mask", "absent"):
        np.testing.assert_array_equal(read_pair("whole", other), np.stack([whole, kinds[other]]))
        np.testing.assert_array_equal(read_pair(other, "whole"), np.stack([kinds[other], whole]))
    with pytest.raises(ScanProblem, match="all voxels of channel 0 are 0; all voxels of channel 1 are 0") as raised:
        read_pair("absent", "absent")
    assert raised.value.reason is Reason.CONSTANT
    with pytest.raises(ScanProblem, match="of channel 0 are 0; channel 1 has only 2 different values") as raised:
        read_pair("absent", "mask")
    assert raised.value.reason is Reason.FEW_VALUES


def test_what_the_system_says_is_told_apart_from_damage(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"no image")
    file = write_image(tmp_path / "x.nii.gz", voxels((6, 10, 12)))
    with pytest.raises(ScanProblem, match="damaged or shortened") as raised:
        read(damaged, scratch)
    assert not raised.value.is_passing

    def fail(path: str) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", path)

    monkeypatch.setattr(nifti, "_open", fail)
    with pytest.raises(ScanProblem, match=r"it cannot be read .*Stale file handle") as raised:
        read(file, scratch)
    assert raised.value.is_passing
    monkeypatch.setattr(reading, "read_header", lambda files, _: fail(files[0]))
    with pytest.raises(ScanProblem, match="Stale file handle") as raised:
        read(file, scratch)
    assert raised.value.is_passing


def test_what_a_reader_says_ends_with_what_failed(tmp_path: Path, scratch: Path) -> None:
    file = write_image(tmp_path / "x.nrrd", voxels((6, 10, 12)))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ScanProblem, match=r"Error reading .*x\.nrrd: .*fread got only \d+ 2-sized things") as raised:
        read(file, scratch)
    assert raised.value.reason is Reason.UNREADABLE


def test_two_dimensional_plans_take_planes_and_volumes(tmp_path: Path, scratch: Path) -> None:
    rules = ReadingRules(num_channels=1, dimensions=2, spacing=(1.0, 1.0), max_voxels=10**6)
    plane = voxels((32, 40))
    for file in ("plane.nii.gz", "plane.nrrd", "plane.mhd"):
        image, _ = read(write_image(tmp_path / file, plane), scratch, rules=rules)
        np.testing.assert_array_equal(image, plane[None, None])
    image, _ = read(write_dicom_series(tmp_path / "single", plane[None]), scratch, rules=rules)
    np.testing.assert_array_equal(image, plane[None, None])
    image, _ = read(write_image(tmp_path / "volume.nii.gz", voxels((5, 32, 40))), scratch, rules=rules)
    assert image.shape == (1, 5, 32, 40)


def test_pictures_are_read_by_their_own_reader(tmp_path: Path, scratch: Path) -> None:
    rules = ReadingRules(num_channels=3, dimensions=2, spacing=(1.0, 1.0), max_voxels=10**6)
    colours = voxels((32, 40, 3)).astype(np.uint8)
    file = write_image(tmp_path / "x.png", colours, is_vector=True)
    (scan,) = find_scans([tmp_path], num_channels=3, endings=frozenset({".png"})).scans
    image, _ = read_scan(scan, NaturalImage2DIO(), rules, scratch)
    np.testing.assert_array_equal(image[:, 0], colours.transpose(2, 0, 1))
    with pytest.raises(ScanProblem) as raised:
        read(file, scratch, NaturalImage2DIO(), dataclasses.replace(rules, num_channels=1))
    assert raised.value.reason is Reason.CHANNELS


def test_frames_of_one_dicom_file_are_a_volume(tmp_path: Path, scratch: Path) -> None:
    array = voxels((6, 12, 10)).astype(np.uint16)
    write_frames(tmp_path / "frames.dcm", array)
    np.testing.assert_array_equal(read_one(tmp_path, scratch), array[None])
    shuffled = pydicom.dcmread(tmp_path / "frames.dcm")
    frames = shuffled.PerFrameFunctionalGroupsSequence
    frames[2], frames[3] = frames[3], frames[2]
    shuffled.save_as(tmp_path / "frames.dcm")
    (skipped,) = find_scans([tmp_path], num_channels=1).skipped
    assert skipped.reason is Reason.UNEVEN_SLICES
    frames[2], frames[3] = frames[3], frames[2]
    shuffled.PerFrameFunctionalGroupsSequence = frames[::-1]  # from the head to the feet
    shuffled.save_as(tmp_path / "frames.dcm")
    assert len(find_scans([tmp_path], num_channels=1).scans) == 1


def test_frames_that_lie_across_each_other_are_no_volume(tmp_path: Path) -> None:
    file = write_frames(tmp_path / "frames.dcm", voxels((6, 12, 10)).astype(np.uint16))
    header = pydicom.dcmread(file)
    plane = pydicom.Dataset()
    plane.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    header.PerFrameFunctionalGroupsSequence[5].PlaneOrientationSequence = [plane]
    header.save_as(file)
    (skipped,) = find_scans([tmp_path], num_channels=1).skipped
    assert (skipped.reason, skipped.detail) == (Reason.DIMENSIONS, "6 frames in 2 orientations")


def test_scaled_slices_keep_their_decimals(tmp_path: Path, scratch: Path) -> None:
    """PET slices have a factor each; the first one's may be whole."""
    array = voxels((4, 8, 8)).astype(np.int16)
    files = write_dicom_series(tmp_path, array)
    factors = (1.0, 0.5, 0.25, 1.5)
    for file, factor in zip(files, factors, strict=True):
        header = pydicom.dcmread(file)
        header.RescaleSlope = factor
        header.save_as(file)
    image, _ = read(files, scratch)
    np.testing.assert_array_equal(image[0], array * np.asarray(factors, dtype=np.float32)[:, None, None])


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_limit_is_enforced_without_reading_voxels(tmp_path: Path, scratch: Path, ending: str) -> None:
    array = voxels((6, 10, 12))
    file = tmp_path / f"huge{ending}"
    if ending.startswith(".nii"):
        write_nifti(file, array, header={42: struct.pack("<3h", 4000, 4000, 4000)})
    else:
        content = write_image(file, array).read_bytes()
        file.write_bytes(
            content.replace(b"= 12 10 6", b"= 4000 4000 4000").replace(b"sizes: 12 10 6", b"sizes: 4000 4000 4000")
        )
        assert b"4000 4000 4000" in file.read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ScanProblem, match="4000 x 4000 x 4000 voxels, the limit is 10,000,000") as raised:
        read(file, scratch)
    assert raised.value.reason is Reason.TOO_LARGE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_gzip_bomb_is_not_unpacked(tmp_path: Path, scratch: Path) -> None:
    plain = write_nifti(tmp_path / "x.nii", voxels((6, 10, 12))).read_bytes()
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=1) as file:
        file.write(plain)
        for _ in range(80):
            file.write(bytes(1 << 20))
    with pytest.raises(ScanProblem, match="far more than its header says"):
        read(tmp_path / "bomb.nii.gz", scratch)


def test_spacing_is_compared_whatever_the_order_of_axes(tmp_path: Path, scratch: Path) -> None:
    rules = dataclasses.replace(RULES, spacing=(0.5, 30.0, 0.5))
    file = write_image(tmp_path / "x.nii.gz", voxels((6, 10, 12)), (30.0, 0.5, 0.5))
    assert read(file, scratch, rules=rules)[0].shape == (1, 6, 10, 12)
    file = write_image(tmp_path / "y.nii.gz", voxels((6, 10, 12)), (0.5, 0.5, 0.5))
    with pytest.raises(ScanProblem, match=r"spacing 0.5 x 0.5 x 0.5 mm, the plans have 0.5 x 0.5 x 30 mm"):
        read(file, scratch, rules=rules)


def test_big_endian_and_singleton_axes_are_read(tmp_path: Path, scratch: Path) -> None:
    array = voxels((6, 10, 12))
    content = write_nifti(tmp_path / "little.nii", array).read_bytes()
    header = np.frombuffer(content[:348], nifti1.header_dtype.newbyteorder("<"))
    big = header.astype(nifti1.header_dtype.newbyteorder(">")).tobytes() + content[348:352]
    (tmp_path / "big.nii").write_bytes(big + array.astype(">i2").tobytes())
    write_nifti(tmp_path / "four.nii.gz", array, header={40: struct.pack("<5h", 4, 12, 10, 6, 1)})
    for name in ("big.nii", "four.nii.gz"):
        np.testing.assert_array_equal(read(tmp_path / name, scratch)[0], array[None])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_no_number_is_found_though_simpleitk_makes_it_zero(
    tmp_path: Path, scratch: Path, order: Literal["<", ">"], kind: str, ending: str
) -> None:
    array = voxels((40, 100, 100)).astype(np.float64)  # more than one block of the check
    array[-1, -1, -1], array[0, 0, 0], array[20, 3, 4] = np.nan, np.inf, -np.inf
    content = write_nifti(tmp_path / "x.nii", array.astype(kind)).read_bytes()
    header = np.frombuffer(content[:348], nifti1.header_dtype.newbyteorder("<"))
    plain = header.astype(nifti1.header_dtype.newbyteorder(order)).tobytes() + content[348:352]
    plain += array.astype(order + kind).tobytes()
    file = tmp_path / f"y{ending}"
    file.write_bytes(gzip.compress(plain, 1) if ending == ".nii.gz" else plain)
    assert np.isfinite(sitk.GetArrayFromImage(sitk.ReadImage(str(file)))).all()
    with pytest.raises(ScanProblem, match="3 voxels are NaN or infinite") as raised:
        read(file, scratch)
    assert raised.value.reason is Reason.NOT_FINITE


def test_name_that_is_no_utf8_is_told_before_simpleitk_ends_the_process(tmp_path: Path, scratch: Path) -> None:
    file = tmp_path / os.fsdecode(b"scan\xff.mha")
    write_image(tmp_path / "scan.mha", voxels((6, 10, 12))).rename(file)
    with pytest.raises(ScanProblem, match="the file's name is no UTF-8") as raised:
        read(file, scratch)
    assert raised.value.reason is Reason.UNREADABLE


def test_readers_print_nothing(tmp_path: Path, scratch: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = write_image(tmp_path / "x.mha", voxels((6, 10, 12)))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ScanProblem):
        read(file, scratch)
    os.write(2, b"heard again")
    assert capfd.readouterr() == ("", "heard again")


@pytest.mark.parametrize("dataset", ["sts_ct", "sts_mr_t1"])
def test_real_scans_come_back_from_dicom(tmp_path: Path, scratch: Path, dataset: str) -> None:
    file = sorted((real_data_folder(dataset) / "images").glob("*.nii.gz"))[0]
    source = sitk.ReadImage(str(file))
    rules = dataclasses.replace(RULES, max_voxels=10**9)
    direct, properties = read(file, scratch, rules=rules)
    series = np.round(sitk.GetArrayFromImage(source)).astype(np.int16)
    written = write_dicom_series(tmp_path / "series", series, source.GetSpacing()[::-1], compressed=True)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "series"))
    assert sorted(names) == sorted(str(path) for path in written)
    (scan,) = find_scans([tmp_path / "series"], num_channels=1).scans
    image, dicom_properties = read_scan(scan, SimpleITKIO(), rules, scratch)
    np.testing.assert_array_equal(image, np.round(direct))
    np.testing.assert_allclose(dicom_properties["spacing"], properties["spacing"], rtol=1e-4)
    copy = shutil.copy(file, tmp_path / "copy.nii.gz")
    assert scan_key(read(Path(copy), scratch, rules=rules)[0]) == scan_key(direct)
