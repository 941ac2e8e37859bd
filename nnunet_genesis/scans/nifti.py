"""NIfTI files as they lie on disk: header, length and checksum.

SimpleITK reads a shortened NIfTI file without complaint, leaves the missing voxels to chance, takes 1 mm for a spacing
that is zero or no number, and does not compare the checksum of ``.nii.gz``. Hence the file itself is looked at.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

import numpy as np
from nibabel import nifti1, nifti2

from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    import numpy.typing as npt

_BLOCK = 1 << 20
_LONGEST_TAIL = 1 << 26  # bytes behind the voxels; more is no scan but a trap
_BYTE_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
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
            bytes_per_voxel = int(header["bitpix"]) // 8
            needed = int(header["vox_offset"]) + bytes_per_voxel * math.prod(size)
            volume = math.prod(size[:3])
            if volume > max_voxels:
                text = " x ".join(map(str, size[:3]))
                raise ScanProblem(Reason.TOO_LARGE, f"{text} voxels, the limit is {max_voxels:,}", where=path)
            _check_length(file, len(start), needed, path)
    except (EOFError, OSError, zlib.error) as error:
        raise ScanProblem(Reason.UNREADABLE, f"damaged or shortened ({error})", where=path) from error
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


def _check_length(file: IO[bytes], read: int, needed: int, path: str) -> None:
    """Read to the end, which makes gzip compare its checksum, and compare the length with what the header needs."""
    if isinstance(file, gzip.GzipFile):
        while block := file.read(_BLOCK):
            read += len(block)
            if read > needed + _LONGEST_TAIL:
                raise ScanProblem(
                    Reason.UNREADABLE, f"holds far more than its header says ({needed} bytes)", where=path
                )
    else:
        read = Path(path).stat().st_size
    if read < needed:
        raise ScanProblem(Reason.UNREADABLE, f"shortened: {read} of {needed} bytes are there", where=path)
