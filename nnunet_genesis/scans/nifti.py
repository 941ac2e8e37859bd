"""NIfTI files as they lie on disk: header, length, checksum, and voxels that are no numbers.

SimpleITK reads a shortened NIfTI file without complaint, leaves the missing voxels to chance, takes 1 mm for a spacing
that is zero or no number, puts 0 where a voxel is NaN or infinite, and does not compare the checksum of ``.nii.gz``.
Hence the file itself is looked at.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import numpy as np
from nibabel import nifti1, nifti2

from nnunet_genesis.scans.problems import Reason, ScanProblem, is_system_error

if TYPE_CHECKING:
    import numpy.typing as npt

_BLOCK = 1 << 20
_LONGEST_TAIL = 1 << 26  # bytes behind the voxels; more is no scan but a trap
_BYTE_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_FLOATS = {16: "f4", 64: "f8"}
_COLOURS = {128: 3, 2304: 4}
_COMPLEX = (32, 1792, 2048)


def read_nifti_header(path: str, max_voxels: int) -> tuple[tuple[int, ...], tuple[float, ...], int, bool]:
    """Size (x, y, ...), spacing in mm, values per voxel and whether they are complex; the whole file is checked.

    Raises:
        ScanProblem: If the file is damaged, shortened, without voxels, or larger than ``max_voxels`` per volume.
    """
    try:
        with _open(path) as file:
            start = file.read(540)
            header = _parse(start, path)
            size = _size(header, path)
            begin = int(header["vox_offset"])
            needed = begin + int(header["bitpix"]) // 8 * math.prod(size)
            volume = math.prod(size[:3])
            if volume > max_voxels:
                text = " x ".join(map(str, size[:3]))
                raise ScanProblem(Reason.TOO_LARGE, f"{text} voxels, the limit is {max_voxels:,}", where=path)
            kind = _FLOATS.get(int(header["datatype"]))
            dtype = None if kind is None else np.dtype(kind).newbyteorder(header["dim"].dtype.byteorder)
            _check_voxels(file, begin, needed, dtype, path)
    except (EOFError, OSError, zlib.error) as error:
        is_passing = is_system_error(error)
        what = "it cannot be read" if is_passing else "damaged or shortened"
        raise ScanProblem(Reason.UNREADABLE, f"{what} ({error})", where=path, is_passing=is_passing) from error
    components = _COLOURS.get(int(header["datatype"]), 1) * math.prod(size[4:])
    axes = max(2, *(axis + 1 for axis, length in enumerate(size[:4]) if axis < 3 or length > 1))
    axes = min(axes, len(size))
    spacing = tuple(float(step) for step in header["pixdim"][1 : axes + 1])
    return size[:axes], spacing, components, int(header["datatype"]) in _COMPLEX


def _open(path: str) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.lower().endswith(".gz") else Path(path).open("rb")


def _parse(start: bytes, path: str) -> npt.NDArray[np.void]:
    for layout, length in ((nifti1.header_dtype, 348), (nifti2.header_dtype, 540)):
        for order in _BYTE_ORDERS:
            if int.from_bytes(start[:4], order) == length and len(start) >= length:
                header = np.frombuffer(start[:length], dtype=layout.newbyteorder(order))
                return cast("npt.NDArray[np.void]", header[0])
    raise ScanProblem(Reason.UNREADABLE, "it does not start with a NIfTI header", where=path)


def _size(header: npt.NDArray[np.void], path: str) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    size = tuple(int(length) for length in header["dim"][1 : axes + 1])
    if not 1 <= axes <= 7 or min(size) < 0 or int(header["bitpix"]) < 8 or not 0 <= float(header["vox_offset"]) < 2**53:
        raise ScanProblem(Reason.UNREADABLE, "the NIfTI header is damaged: its sizes make no sense", where=path)
    if min(size) == 0:
        raise ScanProblem(Reason.EMPTY, f"no voxels ({' x '.join(map(str, size))})", where=path)
    return size


def _check_voxels(file: IO[bytes], begin: int, end: int, dtype: np.dtype[np.floating[Any]] | None, path: str) -> None:
    """Compare the length with what the header needs, look for NaN and infinity, and let gzip compare its checksum."""
    is_packed = isinstance(file, gzip.GzipFile)
    length = 0 if is_packed else Path(path).stat().st_size
    bad = 0
    if is_packed or (dtype is not None and length >= end):
        length = file.seek(begin)
        # Blocks hold whole numbers, since their length is a multiple of every kind's.
        while block := file.read(min(_BLOCK, end - length) if length < end else _BLOCK):
            if dtype is not None and length < end:
                numbers = np.frombuffer(block, dtype, count=len(block) // dtype.itemsize)
                bad += len(numbers) - int(np.count_nonzero(np.isfinite(numbers)))
            length += len(block)
            if length > end + _LONGEST_TAIL:
                if not is_packed:
                    break
                raise ScanProblem(Reason.UNREADABLE, f"holds far more than its header says ({end} bytes)", where=path)
    if length < end:
        raise ScanProblem(Reason.UNREADABLE, f"shortened: {length} of {end} bytes are there", where=path)
    if bad:
        raise ScanProblem(Reason.NOT_FINITE, f"{bad} voxels are NaN or infinite", where=path)
