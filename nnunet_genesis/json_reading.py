"""Read JSON that others wrote, without surprises: no key twice, no endless nesting, no file that fills the memory."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import GenesisError, SetupError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_FILE = 1 << 28
"""Bytes; Python's objects take about ten times as much memory."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON spells the halves of a character (surrogates); only both together are one."""


def parse_json(text: str) -> Any:
    """Plain values of a text.

    Raises:
        ValueError: If it is no JSON, nested too deeply, says a key twice, or holds half a character.
    """
    try:
        content = json.loads(text, object_pairs_hook=_without_repetition)
        if _HALF.search(text):
            # Names of files that are no UTF-8 have such halves, too, and come back as the bytes that they were.
            json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"it holds half a character, {half!r}, which can be no text and no name") from error
    return content


def read_json(file: Path) -> Any:
    """Plain values of a file, UTF-8.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is larger than `LARGEST_FILE`, no UTF-8, or as of `parse_json`.
    """
    size = file.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"it has {size:,} bytes, at most {LARGEST_FILE:,} are read")
    return parse_json(file.read_text(encoding="utf-8"))


def read_json_object(file: Path, mend: str, kind: type[GenesisError] = SetupError) -> dict[str, Any]:
    """Read a file that holds one object.

    Args:
        file: UTF-8.
        mend: What to do about a damaged one.
        kind: What to raise.

    Raises:
        GenesisError: Of this kind, if it cannot be read or holds something else.
    """
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise kind(f"cannot be read as JSON ({error})", where=file, mend=mend) from error
    if not isinstance(content, dict):
        raise kind(f"is no JSON object but {type(content).__name__}", where=file, mend=mend)
    return content


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r:.100} is there twice, and which of them counts cannot be known")
    return content
