"""Headers of NRRD files, checked before SimpleITK's parser in C sees them."""

from __future__ import annotations

from pathlib import Path

from nnunet_genesis.scans.problems import Reason, ScanProblem

LONGEST_FIELD = 500
"""Characters of a line that is no comment; the longest that any writer needs, directions of four axes, has 300."""
_MAGIC = b"NRRD"
_LARGEST_HEADER = 1 << 24
_FREE = (b"#", b"content:", b"labels:")


def check_nrrd_header(file: str) -> None:
    """Refuse a header with lines that SimpleITK's parser writes past the end of its buffers.

    Files of other formats pass, whatever their name; so do comments and ``key:=value`` of any length, which the parser
    takes.

    Args:
        file: Any image file.

    Raises:
        ScanProblem: If the file is an NRRD file with such a line.
    """
    with Path(file).open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            return
        while stream.tell() < _LARGEST_HEADER:
            line = stream.readline(_LARGEST_HEADER)
            text = line.strip()
            if not text:
                return  # the voxels follow, or the end
            if len(text) > LONGEST_FIELD and not text.startswith(_FREE) and not _is_key_and_value(text):
                raise ScanProblem(
                    Reason.UNREADABLE,
                    f"its NRRD header has a line of {len(text):,} characters, which no field has"
                    f" ({text[:40].decode('ascii', 'replace')!r} ...)",
                    where=file,
                )
    raise ScanProblem(Reason.UNREADABLE, f"its NRRD header has more than {_LARGEST_HEADER:,} bytes", where=file)


def _is_key_and_value(line: bytes) -> bool:
    key, found, _ = line.partition(b":=")
    return bool(found) and b": " not in key
