"""Read a file that torch wrote, whoever made it, without running anything of it.

A file may ask for more memory than it has bytes, or for code. Both are looked for before torch opens it, and torch
opens it with ``weights_only=True`` and the few stand-ins of `numpy_values`.
"""

from __future__ import annotations

import io
import pickle
import shlex
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.interop.numpy_values import safe_globals
from nnunet_genesis.interop.pickle_scan import ClaimedSizeError, ForeignCallError, scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"
_PICKLES_BEFORE_CONTENT = 3
"""Torch's format before 1.6 begins with a magic number, a version and facts of the system, each a pickle."""
_MEND_DAMAGED = "copy or download the file again; it was left as it is"
_MEND_UNSAFE = (
    "save the tensors alone where the file comes from: torch.save(network.state_dict(), FILE); or use another file"
)


def read_safely(file: Path) -> dict[str, Any]:
    """Read a dictionary of tensors and plain values onto the CPU, whatever device wrote it.

    Numpy scalars come back as plain Python numbers.

    Raises:
        CheckpointError: If the file is missing, damaged or no dictionary, if it claims more than its bytes can hold, or
            if it holds more than tensors and plain values.
    """
    if not file.is_file():
        raise CheckpointError(
            "no such file" if not file.exists() else "a folder, not a file", where=file, mend="check the path"
        )
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_ZIP_START))
            stream.seek(0)
            if start == _ZIP_START:
                _check_archive(stream, file)
            elif start.startswith(_PICKLE_START):
                _check_pickles(stream, file)
            else:
                raise CheckpointError(
                    "no file of torch, or damaged or incomplete: it begins neither like an archive nor like a pickle",
                    where=file,
                    mend=_MEND_DAMAGED,
                )
            stream.seek(0)
            with _only_safe_globals():
                content = torch.load(stream, map_location="cpu", weights_only=True)
    except ForeignCallError as error:
        raise _unsafe(file, str(error)) from error
    except ClaimedSizeError as error:
        raise CheckpointError(f"{error}; it was not loaded", where=file, mend=_MEND_DAMAGED) from error
    except pickle.UnpicklingError as error:
        raise _unsafe(file, _first_line(error)) from error
    except CheckpointError:
        raise
    except PermissionError as error:
        raise CheckpointError(
            "you may not read this file (permission denied)", where=file, mend=f"chmod u+r {shlex.quote(str(file))}"
        ) from error
    except MemoryError as error:
        raise CheckpointError(
            f"there is not enough memory to read this file of {file.stat().st_size / 1e6:.0f} MB",
            where=file,
            mend="close other programs, or use a machine with more memory",
        ) from error
    except Exception as error:
        # Broken bytes make pickle, zipfile and torch raise nearly anything; there is no list.
        raise _damaged(file, _first_line(error)) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"the file holds a {type(content).__name__}, not a dictionary of tensors", where=file, mend=_MEND_UNSAFE
        )
    return content


def _check_archive(stream: BinaryIO, file: Path) -> None:
    """Torch's format since 1.6: a zip archive of uncompressed entries."""
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        claimed, held = sum(entry.file_size for entry in entries), file.stat().st_size
        root = entries[0].filename.split("/", 1)[0] if entries else ""
        if any(entry.filename.startswith(f"{root}/code/") for entry in entries):
            raise ForeignCallError("a TorchScript program")
        if claimed > held:
            raise ClaimedSizeError(f"the entries of the archive claim {claimed} bytes in a file of {held}")
        # miniz, which torch reads with, ignores case and takes the folder of the first entry.
        sizes = {entry.filename.lower(): entry.file_size for entry in entries}
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or len(sizes) != len(entries) or f"{root}/data.pkl".lower() not in sizes:
            raise _damaged(file, "it is a zip archive, but not as torch writes it")
        content = archive.read(f"{root}/data.pkl")
    scan(io.BytesIO(content), lambda key: sizes.get(f"{root}/data/{key}".lower(), 0))


def _check_pickles(stream: BinaryIO, file: Path) -> None:
    """Torch's format before 1.6: pickles in a row, then the bytes of all storages."""
    held = file.stat().st_size
    for _ in range(_PICKLES_BEFORE_CONTENT + 1):
        scan(_Bounded(stream, held), lambda _: held)


class _Bounded:
    """Reads no more than the file holds: Python makes room for all that is asked for before it reads anything."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size

    def read(self, size: int, /) -> bytes:
        return self._stream.read(max(0, min(size, self._size - self._stream.tell())))

    def readline(self) -> bytes:
        return self._stream.readline()


def _has_safe_globals() -> bool:
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)


@contextmanager
def _only_safe_globals() -> Iterator[None]:
    """Allow the stand-ins and nothing that other packages of this process allowed.

    Torch before 2.6 cannot read under stand-ins; files with numpy scalars are refused there.
    """
    if not _has_safe_globals():
        yield
        return
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals(safe_globals()):
            yield
    finally:
        torch.serialization.add_safe_globals(others)


def _unsafe(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"the file holds more than weights and plain values, and reading it could run code ({reason});"
        " it was not loaded",
        where=file,
        mend=_MEND_UNSAFE if _has_safe_globals() else "pip install 'torch>=2.6', which can read numpy's numbers safely",
    )


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"the file is damaged or incomplete ({reason})", where=file, mend=_MEND_DAMAGED)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
