"""Read a pickle of plain values and arrays of numbers without running anything of it.

nnU-Net keeps the properties of a preprocessed case in a pickle. Pickles may name any function to be called; here they
may name what makes numbers and arrays of numbers, for which stand-ins are called, and nothing else.
"""

from __future__ import annotations

import io
import pickle
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.errors import DataError
from nnunet_genesis.interop.numpy_values import NumberType, number
from nnunet_genesis.interop.pickle_scan import NUMPY_DTYPE, NUMPY_SCALAR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

_LARGEST_FILE = 1 << 30


def read_plain_pickle(file: Path) -> Any:
    """Read plain values; arrays of numbers come back as `PlainArray`.

    Raises:
        OSError: If the file cannot be opened.
        DataError: If it is damaged, or holds anything else.
    """
    mend = "preprocess the case again; the file was not loaded"
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"it has more than {_LARGEST_FILE:,} bytes")
        return _PlainUnpickler(io.BytesIO(file.read_bytes())).load()
    except OSError:
        raise
    except Exception as error:  # broken bytes make it raise anything
        text = str(error).strip().splitlines()
        raise DataError(
            f"the pickle cannot be read safely ({type(error).__name__}{': ' + text[0][:200] if text else ''})",
            where=file,
            mend=mend,
        ) from error


class PlainArray:
    """Stands in for an array while its pickle is read; `values` is the array."""

    def __init__(self, *_: object) -> None:
        self.values: npt.NDArray[Any] = np.zeros(0)

    def __len__(self) -> int:
        """Length of the first axis."""
        return len(self.values)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take version, shape, type, order and bytes, as numpy stores them."""
        _, shape, kind, is_fortran, raw = state
        self.values = _array(raw, kind, shape, "F" if is_fortran else "C")


class _PlainUnpickler(pickle._Unpickler):
    """Python's own unpickler in Python: the one in C makes room for as many values as a pickle says that it has."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        known = _KNOWN.get(f"{module}.{name}")
        if known is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain values do not need")
        return known


def _array(raw: Any, kind: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    if not isinstance(kind, NumberType) or not isinstance(raw, (bytes, bytearray)) or order not in ("C", "F"):
        raise ValueError("an array of something else than numbers")
    if not isinstance(shape, tuple) or min(shape, default=1) < 0 or prod(shape) * int(kind.code[1:]) != len(raw):
        raise ValueError(f"an array of shape {shape!r:.100} in {len(raw)} bytes")
    array: npt.NDArray[Any] = np.frombuffer(raw, dtype=kind.byte_order + kind.code).reshape(shape, order=order)
    return array


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any, *_: object) -> PlainArray:
    """Stands in for what protocol 5 names."""
    made = PlainArray()
    made.values = _array(bytes(raw), kind, shape, order)
    return made


def _encode(text: str, encoding: str) -> bytes:
    """Bytes in pickles of protocol 2; another name would make Python look for a codec."""
    if encoding != "latin1":
        raise ValueError(f"the encoding {encoding!r:.100}")
    return text.encode("latin1")


_KNOWN: dict[str, Callable[..., Any]] = {
    NUMPY_DTYPE: NumberType,
    **dict.fromkeys(NUMPY_SCALAR, number),
    "numpy.ndarray": PlainArray,
    "_codecs.encode": _encode,
    "builtins.set": set,
    "__builtin__.set": set,
    **{f"numpy.{core}.multiarray._reconstruct": PlainArray for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
