"""Read images and predictions of any format that nnU-Net writes: the grid in full, and voxels as they were stored."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.errors import DataError
from nnunet_genesis.scans.nrrd import check_nrrd_header

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

ITK_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".gipl")
FLAT_ENDINGS = (".png", ".bmp", ".tif", ".tiff")
"""Formats without a grid in space: only their sizes can be compared."""
IMAGE_ENDINGS = (*ITK_ENDINGS, *FLAT_ENDINGS)
_READ_BYTES = 1 << 20
_GIPL_HEADER = 256


class Library(Enum):
    """What reads a file; image and prediction are read by the same, so that both mean the same by a header."""

    SIMPLEITK = "SimpleITK"
    NIBABEL = "nibabel"
    FLAT = "scikit-image or tifffile"


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a file are.

    Attributes:
        size: Voxels per axis, x first (flat formats: the last array axis first).
        spacing: Millimetres per axis; empty for flat formats.
        origin: Centre of the first voxel, mm; empty for flat formats.
        direction: Direction cosines, row by row; empty for flat formats.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    direction: tuple[float, ...] = ()


def choose_library(file: Path) -> Library:
    """The library that can read an image's header: SimpleITK first, as nnU-Net does.

    Raises:
        DataError: If none can.
    """
    if file.name.lower().endswith(FLAT_ENDINGS):
        return Library.FLAT
    try:
        read_grid(file, Library.SIMPLEITK)
    except DataError:
        # SimpleITK refuses sheared axes, which nnU-Net's nibabel readers take.
        if not file.name.lower().endswith((".nii", ".nii.gz")):
            raise
        read_grid(file, Library.NIBABEL)
        return Library.NIBABEL
    return Library.SIMPLEITK


def read_grid(file: Path, library: Library) -> Grid:
    """Read the grid of an image.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        if library is Library.SIMPLEITK:
            import SimpleITK as sitk

            check_nrrd_header(str(file))
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(file))
            reader.ReadImageInformation()
            return Grid(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
        if library is Library.NIBABEL:
            import nibabel

            return _nibabel_grid(nibabel.load(file))
        array = _read_flat(file)
    except Exception as error:  # readers raise whatever they happen to stumble over
        raise _unreadable(file, error) from error
    return Grid(array.shape[::-1][_colours_of(array, file) > 0 :])


def count_colours(file: Path) -> int:
    """How many colours a pixel of a flat image has: 3 or 4, all in one file; 0 for grey ones and other formats.

    Raises:
        DataError: If the file cannot be read.
    """
    if not file.name.lower().endswith(FLAT_ENDINGS):
        return 0
    try:
        return _colours_of(_read_flat(file), file)
    except Exception as error:  # readers raise whatever they happen to stumble over
        raise _unreadable(file, error) from error


def _colours_of(array: npt.NDArray[np.generic], file: Path) -> int:
    # nnU-Net takes three or four values at the end for colours, but in .tiff, where it always reads volumes.
    is_colour = array.ndim == 3 and array.shape[-1] in (3, 4) and not file.name.lower().endswith(".tiff")
    return array.shape[-1] if is_colour else 0


def read_voxels(file: Path, library: Library) -> tuple[npt.NDArray[np.generic], Grid]:
    """Read a whole file, voxels in their stored type.

    Returns:
        Array (z, y, x) or (y, x), and the grid.

    Raises:
        DataError: If the file cannot be read, or ends before its time.
    """
    try:
        check_length(file)
        if library is Library.SIMPLEITK:
            import SimpleITK as sitk

            check_nrrd_header(str(file))
            image = sitk.ReadImage(str(file))
            grid = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
            return sitk.GetArrayFromImage(image), grid
        if library is Library.NIBABEL:
            import nibabel

            nifti: Any = nibabel.load(file)
            return np.asanyarray(nifti.dataobj).transpose(), _nibabel_grid(nifti)
        array = _read_flat(file)
    except Exception as error:
        raise _unreadable(file, error) from error
    return array, Grid(array.shape[::-1])


def check_length(file: Path) -> None:
    """Notice a file that was cut off where ITK fills what is missing with whatever it has: NIfTI and GIPL.

    Raises:
        EOFError: If bytes are missing. Libraries raise others of theirs where they cannot read the file at all.
    """
    name = file.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        import nibabel

        image: Any = nibabel.load(file)
        stored = image.dataobj  # the header has 0 where voxels begin right behind it
        needed = int(stored.offset) + int(np.prod(stored.shape, dtype=np.int64)) * stored.dtype.itemsize
    elif name.endswith(".gipl"):
        import SimpleITK as sitk

        image = sitk.ReadImage(str(file))
        needed = _GIPL_HEADER + sitk.GetArrayViewFromImage(image).nbytes
    else:
        return
    held = 0
    with gzip.open(file) if name.endswith(".gz") else file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            held += len(block)
    if held < needed:
        raise EOFError(f"{held} bytes of {needed}")


def _read_flat(file: Path) -> npt.NDArray[np.generic]:
    if file.name.lower().endswith((".tif", ".tiff")):
        import tifffile

        return np.asarray(tifffile.imread(file))
    from skimage import io

    return np.asarray(io.imread(file))


def _nibabel_grid(nifti: Any) -> Grid:
    affine = np.asarray(nifti.affine, dtype=float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    size = tuple(int(side) for side in nifti.shape)
    return Grid(
        size, tuple(map(float, spacing)), tuple(map(float, affine[:3, 3])), tuple(map(float, direction.ravel()))
    )


def in_lps(grid: Grid) -> Grid:
    """A grid that nibabel read (x to the right, y to the front) as SimpleITK has it (to the left, to the back)."""
    signs = (-1.0, -1.0, 1.0)
    return replace(
        grid,
        origin=tuple(sign * place for sign, place in zip(signs, grid.origin, strict=True)),
        direction=tuple(signs[number // 3] * cosine for number, cosine in enumerate(grid.direction)),
    )


def _unreadable(file: Path, error: Exception) -> DataError:
    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
        return DataError(f"the file is cut off or damaged ({error})", where=file, mend="make it again")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Exception thrown in SimpleITK")]
    return DataError(
        f"the file cannot be read ({type(error).__name__}: {(told or lines or [''])[0][:200]})",
        where=file,
        mend="make it again",
    )
