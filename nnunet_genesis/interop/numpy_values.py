"""Numpy scalars of a checkpoint as plain Python numbers, without calling numpy's own constructors.

nnU-Net writes numpy scalars into ``logging`` and ``_best_ema``. A pickle names what makes them: ``numpy.dtype`` and, in
numpy 1 and 2 under different modules, ``multiarray.scalar``. The two stand-ins below take these names while a file is
read; they know numbers of fixed size and nothing else, so that no object, text or array type can be asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.interop.pickle_scan import NUMPY_DTYPE, NUMPY_SCALAR

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBER_CODE = re.compile(r"[biuf](?:1|2|4|8)")


class NumberType:
    """Stands in for ``numpy.dtype``.

    Args:
        code: Numpy's code of a number, e.g. ``f4``.
    """

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _NUMBER_CODE.fullmatch(code):
            raise ValueError(f"a numpy type {code!r}, which is no plain number")
        self.code, self.byte_order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order, the second entry of what numpy stores."""
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"a numpy byte order {state[1]!r}")
        self.byte_order = state[1]


def number(kind: object, raw: object) -> bool | int | float:
    """Stands in for ``multiarray.scalar``: a plain number from its bytes."""
    if not isinstance(kind, NumberType) or not isinstance(raw, bytes):
        raise ValueError("a numpy scalar that is no plain number")
    value: bool | int | float = np.frombuffer(raw, dtype=kind.byte_order + kind.code, count=1)[0].item()
    return value


def safe_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """The stand-ins under the names that files use, for `torch.serialization.safe_globals`."""
    return [(NumberType, NUMPY_DTYPE), *((number, name) for name in NUMPY_SCALAR)]
