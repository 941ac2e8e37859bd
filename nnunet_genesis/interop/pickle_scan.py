"""Follow a pickle without running it: which functions it calls, and how much memory its tensors claim.

`torch.load(weights_only=True)` already refuses foreign code. It does not refuse a small file that asks for a terabyte,
so this comes first. The pickle's instructions are followed with stand-ins for values; whatever cannot be followed is
refused.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from math import prod
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable

NUMPY_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
"""How numpy 1 and numpy 2 name the function that makes a scalar."""
NUMPY_DTYPE = "numpy.dtype"
_TENSOR = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}
_CALLABLE = {
    *_TENSOR,
    *NUMPY_SCALAR,
    NUMPY_DTYPE,
    "collections.OrderedDict",
    "collections.Counter",
    "builtins.set",
    "_codecs.encode",
    "torch.Size",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
}
_BYTES_OF_ITEM = {
    "DoubleStorage": 8,
    "LongStorage": 8,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "FloatStorage": 4,
    "IntStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "ShortStorage": 2,
}
"""Bytes of one element by torch's storage type; 1 for all others."""
_UNSUPPORTED = {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER"}


class Readable(Protocol):
    """What is needed of a file."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""

    def readline(self) -> bytes:
        """Bytes up to the end of the line."""


class ForeignCallError(Exception):
    """The pickle asks for a function or class that weights do not need."""


class ClaimedSizeError(Exception):
    """The pickle claims tensors that the file cannot hold."""


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    num_elements: int


_MARK = object()


def scan(stream: Readable, bytes_of_storage: Callable[[str], int]) -> None:
    """Follow one pickle up to its end.

    Args:
        stream: Positioned at the first byte of the pickle; afterwards behind the last.
        bytes_of_storage: How many bytes the file has for the storage of a key.

    Raises:
        ForeignCallError: If something else is called than what rebuilds tensors, plain containers and numpy scalars.
        ClaimedSizeError: If a tensor is larger than the bytes that the file has for it.
        ValueError, IndexError, KeyError: If the pickle is broken.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(cast("IO[bytes]", stream)):
        name = opcode.name
        if name in _UNSUPPORTED:
            raise ForeignCallError(f"the pickle instruction {name}")
        if name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(_to_mark(stack) if name == "TUPLE" else _pop(stack, len(opcode.stack_before))))
        elif name == "GLOBAL":
            stack.append(_Global(str(argument).replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_Global(".".join(map(str, _pop(stack, 2)))))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop(), bytes_of_storage))
        elif name in ("REDUCE", "NEWOBJ"):
            _check_call(*_pop(stack, 2))
            stack.append(None)
        else:
            _follow_other(stack, opcode, argument)


def _follow_other(stack: list[Any], opcode: pickletools.OpcodeInfo, argument: Any) -> None:
    """Instructions that put a plain value, or that only fill containers."""
    before = len(opcode.stack_before)
    if pickletools.markobject in opcode.stack_before:
        _to_mark(stack)
        before -= 2
    _pop(stack, before)
    stack.extend([argument if isinstance(argument, (int, str)) else None] * len(opcode.stack_after))


def _pop(stack: list[Any], count: int) -> list[Any]:
    if count > len(stack):
        raise IndexError("the pickle takes more values than it put")
    values = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return values


def _to_mark(stack: list[Any]) -> list[Any]:
    values: list[Any] = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _storage(identifier: Any, bytes_of_storage: Callable[[str], int]) -> _Storage:
    try:
        tag, kind, key, _, num_elements = identifier[:5]
        bytes_of_item = _BYTES_OF_ITEM.get(kind.name.rsplit(".", 1)[-1], 1)
    except (TypeError, ValueError, AttributeError) as error:
        raise ForeignCallError("a reference to something that is no tensor") from error
    if tag != "storage" or not isinstance(key, str) or not isinstance(num_elements, int):
        raise ForeignCallError("a reference to something that is no tensor")
    claimed, held = num_elements * bytes_of_item, bytes_of_storage(key)
    if not 0 <= claimed <= held:
        raise ClaimedSizeError(f"a tensor claims {claimed} bytes, the file has {held} for it")
    return _Storage(num_elements)


def _check_call(function: Any, arguments: Any) -> None:
    if not isinstance(function, _Global) or function.name not in _CALLABLE:
        raise ForeignCallError(function.name if isinstance(function, _Global) else "a computed function")
    if function.name in _TENSOR:
        _check_tensor(arguments)
    # Bytes in pickles of protocol 2; another name would make Python look for a codec.
    if function.name == "_codecs.encode" and (not isinstance(arguments, tuple) or arguments[1:] != ("latin1",)):
        raise ForeignCallError("_codecs.encode to something else than latin1")


def _check_tensor(arguments: Any) -> None:
    try:
        storage, offset, size, stride = arguments[:4]
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        claimed, held = max(prod(size), last + 1 if prod(size) else 0), storage.num_elements
        broken = min((offset, *size, *stride)) < 0
    except (TypeError, ValueError, AttributeError) as error:
        raise ForeignCallError("a tensor that is not described by numbers") from error
    if broken or claimed > held:
        raise ClaimedSizeError(f"a tensor of shape {tuple(size)} does not fit its {held} stored elements")
