"""Headers that keep their voxels in another file (.mhd, .nhdr)."""

from __future__ import annotations

import os
import re
from pathlib import Path

_DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE)


def detached_data_files(path: str) -> list[str]:
    """Absolute paths of the voxel files that a header names; empty for formats that hold their voxels themselves.

    Lists and numbered patterns of files are not followed.
    """
    if not path.lower().endswith((".mhd", ".nhdr")):
        return []
    try:
        with Path(path).open("rb") as file:
            found = _DATA_FILE.search(file.read(65536))
    except OSError:
        return []
    if found is None:
        return []
    name = os.fsdecode(found.group(1).strip())
    if name.upper().startswith(("LIST", "LOCAL")) or "%" in name or "\0" in name:
        return []
    return [str(Path(path).parent / name)]
