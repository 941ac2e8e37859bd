"""Formats that the plans' own reader does not know, through a temporary file that it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import SimpleITK as sitk

from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# The first one that the reader knows is taken: uncompressed ones, and those that keep the whole header, come first.
_TEMPORARY_ENDINGS = (".mha", ".nrrd", ".nii", ".nii.gz", ".tif", ".tiff")


def is_known(files: tuple[str, ...], endings: Sequence[str]) -> bool:
    """Whether the reader can be given the file itself."""
    return len(files) == 1 and files[0].endswith(tuple(endings))


def convert(files: tuple[str, ...], endings: Sequence[str], folder: Path, number: int) -> str:
    """Read one channel with SimpleITK, write it uncompressed for a reader that knows ``endings``.

    Args:
        files: A file, or the slices of a DICOM series in order.
        endings: File endings that the reader knows.
        folder: Existing temporary folder, which the caller removes.
        number: Number of the channel.

    Returns:
        Path of the temporary file.

    Raises:
        ScanProblem: If the reader knows no ending that SimpleITK can write.
        RuntimeError: If SimpleITK cannot read the files.
    """
    ending = next((ending for ending in _TEMPORARY_ENDINGS if ending in endings), None)
    if ending is None:
        raise ScanProblem(
            Reason.UNREADABLE,
            f"the plans' reader knows only {', '.join(endings)}",
            where=files[0],
            mend="convert the scan to one of these formats",
        )
    image = _read(files)
    path = str(folder / f"image_{number:04d}{ending}")
    sitk.WriteImage(image, path, useCompression=False)
    if ending in (".tif", ".tiff"):
        # nnU-Net's reader of TIFF volumes expects the spacing in a file beside them.
        (folder / "image.json").write_text(json.dumps({"spacing": image.GetSpacing()[::-1]}))
    return path


def _read(files: tuple[str, ...]) -> sitk.Image:
    if len(files) > 1:
        series = sitk.ImageSeriesReader()
        series.SetFileNames(files)
        # Slices of PET are scaled one by one; the type of the first one would cut off the others' decimals.
        series.SetOutputPixelType(sitk.sitkFloat32)
        image: sitk.Image = series.Execute()
        return image
    return sitk.ReadImage(files[0])
