"""What the header of an image file says, read without its voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from nnunet_genesis.scans.nifti import read_nifti_header
from nnunet_genesis.scans.nrrd import check_nrrd_header
from nnunet_genesis.scans.problems import Reason, ScanProblem

NIFTI_ENDINGS = (".nii", ".nii.gz")
# Formats without a spacing, whose colours are channels for nnU-Net's readers; SimpleITK need not know all of them.
PICTURE_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Header:
    """Size and kind of an image.

    Attributes:
        size: Voxels per axis (x, y, ...), two to four axes.
        spacing: In mm per axis (x, y, ...); empty where the format has none, or where it shows in the voxels only.
        components: Values per voxel, more than one for colours and vectors.
        is_complex: Whether voxels are complex numbers.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    components: int = 1
    is_complex: bool = False


def read_header(files: tuple[str, ...], max_voxels: int) -> Header | None:
    """Read the header of one channel: a file, or the slices of a DICOM series.

    Of NIfTI files the whole stream is checked as well, because readers fill what is missing with arbitrary memory.

    Returns:
        The header; None for a picture that SimpleITK does not know (the plans' own reader may).

    Raises:
        ScanProblem: If a file is missing, empty, damaged or too large.
        RuntimeError: If SimpleITK cannot read the header.
    """
    for file in files:
        try:
            file.encode()
        except UnicodeEncodeError as error:  # SimpleITK would end the whole process
            raise ScanProblem(Reason.UNREADABLE, "the file's name is no UTF-8", where=file, mend="rename it") from error
        if not Path(file).is_file():
            raise ScanProblem(Reason.UNREADABLE, "the file has vanished", where=file, is_passing=True)
        if Path(file).stat().st_size == 0:
            raise ScanProblem(Reason.EMPTY, "the file is empty (0 bytes)", where=file)
        check_nrrd_header(file)
    if files[0].lower().endswith(NIFTI_ENDINGS):
        return Header(*read_nifti_header(files[0], max_voxels))
    is_picture = files[0].lower().endswith(PICTURE_ENDINGS)
    reader = sitk.ImageFileReader()
    reader.SetFileName(files[0])
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        if is_picture:
            return None
        raise
    size, spacing = tuple(reader.GetSize()), tuple(reader.GetSpacing())
    if is_picture:
        spacing = ()
    if len(files) > 1:
        size, spacing = (*size[:2], len(files)), ()
    is_complex = reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
    return Header(size, spacing, reader.GetNumberOfComponents(), is_complex)
