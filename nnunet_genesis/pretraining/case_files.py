"""Preprocessed cases on disk, read as images only: the segmentation file of a case is never opened."""

from __future__ import annotations

import errno
import os
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import blosc2
import numpy as np

from nnunet_genesis.errors import DataError, GenesisError, SetupError
from nnunet_genesis.memory import memory_of_machine

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


_FRAME, _ARRAY_ALONE = (2, b"b2frame\0"), (91, b"\xde\x00\x01\xa4b2nd")
"""Places and bytes at the beginning of a ``.b2nd`` file whose only description is that of an array (C-Blosc2's
README_CFRAME_FORMAT and README_B2ND_METALAYER). Files of blosc2 may also describe an expression to be computed or an
array on a server, which some versions of blosc2 follow when they open the file."""
_OUT_OF = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_AGAIN = "preprocess it again: nnUNetv2_preprocess, or genesis preprocess-unlabeled for a pool"


class CaseArray(Protocol):
    """An image (channels, *spatial) that reads only what is sliced."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, then three spatial axes."""
        ...

    def __getitem__(self, item: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Read a part."""
        ...


def find_case_file(folder: Path, case: str) -> Path:
    """The image file of a case: ``.b2nd``, else unpacked ``.npy``, else ``.npz``.

    Raises:
        DataError: If there is none.
    """
    for suffix in (".b2nd", ".npy", ".npz"):
        file = folder / f"{case}{suffix}"
        if file.is_file():
            return file
    raise _vanished(folder / f"{case}.b2nd")


def open_case(file: Path) -> CaseArray:
    """Open a preprocessed image for slicing.

    ``.b2nd`` files decompress only the blocks that a slice touches and ``.npy`` files are memory-mapped; of ``.npz``
    files the whole image must be decompressed.

    Raises:
        DataError: If the file is missing or cannot be read.
    """
    try:
        if file.suffix == ".b2nd":
            _require_array(file)
            # Memory mapping of blosc2 files fails on Windows (nnU-Net issue 2723).
            mapping = {} if os.name == "nt" else {"mmap_mode": "r"}
            array: CaseArray = blosc2.open(urlpath=str(file), mode="r", dparams={"nthreads": 1}, **mapping)
        elif file.suffix == ".npy":
            array = np.load(file, mmap_mode="r")
        else:
            with np.load(file) as archive:
                _require_memory(sum(entry.file_size for entry in archive.zip.infolist()))
                array = archive["data"]
        if not hasattr(array, "shape") or np.dtype(array.dtype).kind not in "biuf":
            raise ValueError("it holds something else than an array of numbers")
    except Exception as error:  # damaged files raise whatever their format's reader happens to stumble over
        raise _unreadable(file, error) from error
    return array


def read_part(array: CaseArray, part: tuple[slice, ...], file: Path) -> npt.NDArray[np.float32]:
    """Read a part of an open image as float32 into memory of its own.

    Args:
        array: What `open_case` returned.
        part: A slice per axis, channels first.
        file: For the message.

    Raises:
        DataError: If the file is damaged there, or holds NaN or infinite values.
    """
    try:
        voxels = np.require(array[part], np.float32, ["C", "O", "W", "E"])
    except Exception as error:  # see open_case
        raise _unreadable(file, error) from error
    # One quick pass: the sum of squares is finite unless a voxel is not, or unless it overflows, which is rare.
    flat = voxels.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.dot(flat, flat)
    if not np.isfinite(squares) and not np.isfinite(voxels).all():
        raise DataError(
            "the preprocessed case holds NaN or infinite values", where=file, mend=f"mend its raw image, then {_AGAIN}"
        )
    return voxels


def read_whole(file: Path) -> npt.NDArray[np.float32]:
    """Read a whole preprocessed image: (channels, z, y, x).

    Raises:
        DataError: If the file is missing or damaged.
    """
    array = open_case(file)
    try:
        _require_memory(4 * prod(array.shape))
    except ValueError as error:
        raise _unreadable(file, error) from error
    return read_part(array, tuple(slice(None) for _ in array.shape), file)


def _require_array(file: Path) -> None:
    with file.open("rb") as stream:
        start = stream.read(128)
    if any(start[place : place + len(wanted)] != wanted for place, wanted in (_FRAME, _ARRAY_ALONE)):
        raise ValueError("it does not begin as a file of blosc2 that holds an array and nothing else")


def _require_memory(needed: int) -> None:
    if needed > memory_of_machine():
        raise ValueError(f"it claims {needed:,} bytes, the machine has {memory_of_machine():,}")


def _unreadable(file: Path, error: Exception) -> GenesisError:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OUT_OF):
        return SetupError(
            f"this process is out of memory or of files that it may have open ({type(error).__name__}: {error})",
            where=file,
            mend="fewer loader processes (-np), or ulimit -n 4096",
        )
    if isinstance(error, FileNotFoundError):
        return _vanished(file)
    return DataError(
        f"the preprocessed case cannot be read ({type(error).__name__}: {error})",
        where=file,
        mend=_AGAIN,
    )


def _vanished(file: Path) -> DataError:
    return DataError(f"the preprocessed case {file.stem} has vanished", where=file, mend=_AGAIN)
