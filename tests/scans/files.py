"""Raw scans as scanners, archives and accidents leave them."""

from __future__ import annotations

import gzip
import locale
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import SimpleITK as sitk

from nnunet_genesis.scans.problems import Reason
from nnunet_genesis.scans.reading import ReadingRules

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

SPACING = (3.0, 0.75, 0.5)  # z, y, x in mm
RULES = ReadingRules(num_channels=1, dimensions=3, spacing=(1.0, 1.0, 1.0), max_voxels=10_000_000)
"""Rules by which every scan of `broken_scans` has the reason that it returns."""


def voxels(shape: Sequence[int], seed: int = 0) -> npt.NDArray[np.int16]:
    """Noise like a CT's, in whole numbers."""
    return np.random.default_rng(seed).integers(-1000, 1500, tuple(shape)).astype(np.int16)


def write_image(
    file: Path, array: npt.NDArray[Any], spacing: Sequence[float] = SPACING, *, is_vector: bool = False
) -> Path:
    """Write an array (z, y, x) in the format of the file's ending; ``spacing`` in mm in the same order."""
    image = sitk.GetImageFromArray(array, isVector=is_vector)
    image.SetSpacing(
        [float(step) for step in spacing[::-1]][: image.GetDimension()] + [1.0] * (image.GetDimension() - 3)
    )
    if image.GetDimension() == 3:
        image.SetOrigin((-30.5, 20.25, 7.0))
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file), useCompression=file.name.endswith(".gz"))
    return file


def write_nifti(
    file: Path,
    array: npt.NDArray[Any],
    spacing: Sequence[float] = SPACING,
    *,
    header: Mapping[int, bytes] | None = None,
    length: int | None = None,
) -> Path:
    """Write a NIfTI file, with bytes of the header overwritten, shortened to ``length`` bytes before compression."""
    plain = write_image(file.with_name("written.nii"), array, spacing)
    content = bytearray(plain.read_bytes())
    plain.unlink()
    for place, value in (header or {}).items():
        content[place : place + len(value)] = value
    shortened = bytes(content[:length])
    file.write_bytes(gzip.compress(shortened) if file.name.endswith(".gz") else shortened)
    return file


def write_dicom_series(
    folder: Path,
    array: npt.NDArray[Any],
    spacing: Sequence[float] = SPACING,
    *,
    series_uid: str = "1.2.826.0.1.3680043.8.498.1",
    compressed: bool | str = False,
    skip_slices: Collection[int] = (),
    jitter: Mapping[int, float] | None = None,
    volumes: int = 1,
    positions: bool = True,
    prefix: str = "",
) -> list[Path]:
    """Write one DICOM file per slice, their names in another order than their positions.

    Args:
        folder: Created if needed.
        array: (z, y, x), of a type that DICOM has.
        spacing: In mm, z, y, x.
        series_uid: SeriesInstanceUID.
        compressed: Lossless JPEG 2000, or the name of another compressor of SimpleITK (``JPEG``). GDCM aborts when
            it writes planes smaller than 16 x 16 as JPEG 2000.
        skip_slices: Slices left out.
        jitter: Distance in mm by which slices are moved along the normal.
        volumes: How often each position is written.
        positions: Whether slices have a position.
        prefix: Begins the names of the files.

    Returns:
        The files, in the order of their slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetUseCompression(bool(compressed))
    if isinstance(compressed, str):
        writer.SetCompressor(compressed)
    files = []
    encoding = locale.setlocale(locale.LC_CTYPE)
    for volume in range(volumes):
        for number, plane in enumerate(array):
            if number in skip_slices:
                continue
            image = sitk.GetImageFromArray(plane)
            image.SetSpacing((spacing[2], spacing[1]))
            offset = 7.0 + number * spacing[0] + (jitter or {}).get(number, 0.0)
            tags = {
                "0008|0060": "CT",
                "0008|0018": f"{series_uid}.{volume + 1}.{number + 1}",
                "0018|0050": f"{spacing[0]:g}",
                "0020|000e": series_uid,
                "0020|0013": str(number + 1),
                "0020|0032": f"-30.5\\20.25\\{offset:.6g}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
            }
            for tag, value in tags.items():
                image.SetMetaData(tag, value)
            file = folder / f"{prefix}{volume}_{(number * 7) % 1009:04d}_{number}.dcm"
            writer.SetFileName(str(file))
            writer.Execute(image)
            if not positions:
                _remove_position(file)
            files.append(file)
    locale.setlocale(locale.LC_CTYPE, encoding)  # GDCM sets "C": later tests could not read a command's output
    return files


def _remove_position(file: Path) -> None:
    header = pydicom.dcmread(file)
    del header.ImagePositionPatient
    header.save_as(file)


def write_frames(file: Path, array: npt.NDArray[np.uint16], spacing: Sequence[float] = SPACING) -> Path:
    """Write one DICOM file that holds all slices as frames with positions."""
    return write_image(file, array, spacing)


def write_film(file: Path, array: npt.NDArray[np.uint16]) -> Path:
    """Write one DICOM file with frames that have no positions."""
    header = pydicom.dcmread(write_frames(file, array))
    del header.PerFrameFunctionalGroupsSequence, header.SharedFunctionalGroupsSequence
    header.save_as(file)
    return file


def broken_scans(folder: Path) -> dict[str, Reason]:
    """Write one scan of every broken kind into ``folder``.

    Returns:
        The expected reason, by `RULES`, per name of a file or of the folder of a DICOM series.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = (12, 20, 16)
    good = voxels(shape)
    whole = 352 + good.nbytes

    write_nifti(folder / "shortened.nii", good, length=whole - 500)
    write_nifti(folder / "shortened_inside.nii.gz", good, length=whole - 500)
    stream = write_nifti(folder / "shortened_stream.nii.gz", good).read_bytes()
    (folder / "shortened_stream.nii.gz").write_bytes(stream[: len(stream) // 2])
    (folder / "wrong_checksum.nii.gz").write_bytes(stream[:-8] + b"\1\2\3\4" + stream[-4:])
    for ending in ("nrrd", "mha"):
        content = write_image(folder / f"shortened_{ending}.{ending}", good).read_bytes()
        (folder / f"shortened_{ending}.{ending}").write_bytes(content[:-500])
    write_image(folder / "lost_voxels.mhd", good)
    (folder / "lost_voxels.raw").unlink()
    (folder / "text.nii.gz").write_text("this is no image")
    (folder / "text_dicom.dcm").write_text("this is no image")
    (folder / "no_bytes.nii.gz").write_bytes(b"")
    write_nifti(folder / "no_voxels.nii", good, header={42: struct.pack("<h", 0)})
    write_nifti(folder / "constant.nii.gz", np.full(shape, 7, dtype=np.int16))
    write_nifti(folder / "label_map.nii.gz", (good > 0).astype(np.uint8))
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        holed = good.astype(np.float32)
        holed[3, 4, 5] = value
        write_nifti(folder / f"{name}.nii.gz", holed)
    write_image(folder / "colours.nii.gz", voxels((*shape, 3)).astype(np.uint8), is_vector=True)
    write_nifti(folder / "second_channel_0000.nii.gz", good)
    write_nifti(folder / "second_channel_0001.nii.gz", good)
    write_image(folder / "plane.nii.gz", good[0])
    write_image(folder / "one_slice.nii.gz", good[:1])
    write_image(folder / "over_time.nii.gz", voxels((4, *shape)))
    write_nifti(folder / "spacing_zero.nii", good, header={88: struct.pack("<f", 0.0)})
    write_nifti(folder / "spacing_nan.nii.gz", good, header={88: struct.pack("<f", np.nan)})
    write_nifti(folder / "spacing_metres.nii.gz", good, spacing=[step / 1000 for step in SPACING])
    write_nifti(folder / "huge.nii", good, header={42: struct.pack("<3h", 30000, 30000, 30000)})
    write_nifti(folder / "huge_packed.nii.gz", good, header={42: struct.pack("<3h", 30000, 30000, 30000)})
    write_nifti(folder / "huge_when_resampled.nii.gz", good, spacing=(19.0, 19.0, 19.0))

    write_dicom_series(folder / "missing_slice", good, skip_slices=(5,), series_uid="1.2.3.1")
    write_dicom_series(folder / "uneven", good, jitter={5: 0.6}, series_uid="1.2.3.2")
    write_dicom_series(folder / "series_over_time", good, volumes=3, series_uid="1.2.3.3")
    write_dicom_series(folder / "no_positions", good, positions=False, series_uid="1.2.3.4")
    damaged = write_dicom_series(folder / "damaged_slice", good, series_uid="1.2.3.5")[6]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    write_film(folder / "film.dcm", good.astype(np.uint16))
    return {
        "shortened.nii": Reason.UNREADABLE,
        "shortened_inside.nii.gz": Reason.UNREADABLE,
        "shortened_stream.nii.gz": Reason.UNREADABLE,
        "wrong_checksum.nii.gz": Reason.UNREADABLE,
        "shortened_nrrd.nrrd": Reason.UNREADABLE,
        "shortened_mha.mha": Reason.UNREADABLE,
        "lost_voxels.mhd": Reason.UNREADABLE,
        "text.nii.gz": Reason.UNREADABLE,
        "text_dicom.dcm": Reason.UNREADABLE,
        "no_bytes.nii.gz": Reason.EMPTY,
        "no_voxels.nii": Reason.EMPTY,
        "constant.nii.gz": Reason.CONSTANT,
        "label_map.nii.gz": Reason.FEW_VALUES,
        "nan.nii.gz": Reason.NOT_FINITE,
        "infinite.nii.gz": Reason.NOT_FINITE,
        "colours.nii.gz": Reason.CHANNELS,
        "second_channel_0000.nii.gz": Reason.CHANNELS,
        "plane.nii.gz": Reason.DIMENSIONS,
        "one_slice.nii.gz": Reason.DIMENSIONS,
        "over_time.nii.gz": Reason.DIMENSIONS,
        "spacing_zero.nii": Reason.SPACING,
        "spacing_nan.nii.gz": Reason.SPACING,
        "spacing_metres.nii.gz": Reason.SPACING,
        "huge.nii": Reason.TOO_LARGE,
        "huge_packed.nii.gz": Reason.TOO_LARGE,
        "huge_when_resampled.nii.gz": Reason.TOO_LARGE,
        "missing_slice": Reason.MISSING_SLICES,
        "uneven": Reason.UNEVEN_SLICES,
        "series_over_time": Reason.DIMENSIONS,
        "no_positions": Reason.UNREADABLE,
        "damaged_slice": Reason.UNREADABLE,
        "film.dcm": Reason.DIMENSIONS,
    }
