"""Files that a reader sees whole or not at all, whenever the one who writes them dies."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a name beside a file to write to; it takes the file's place at the end, and is removed after an error.

    Args:
        file: In a folder that exists; what it held stays where writing fails.

    Raises:
        OSError: If the folder cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        yield part
        part.replace(file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_json(content: Any, file: Path, *, indent: int = 1) -> None:
    """Write a file of JSON, whole or not at all.

    Raises:
        OSError: If the folder cannot be written.
    """
    with replacing(file) as part:
        part.write_text(json.dumps(content, indent=indent) + "\n")
