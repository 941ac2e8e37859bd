"""Names of cases from the places where their files were found."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_IDENTIFIER = 150  # bytes; leaves room for endings and temporary names below the usual limit of 255

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.-]")
# Windows refuses these, whatever follows the first dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where a scan was found.

    Attributes:
        parts: Path relative to the input, in parts, without file ending and channel number.
        origin: The same place spelt so that no other scan shares it, for example the absolute path.
    """

    parts: tuple[str, ...]
    origin: str


def name_scans(places: Sequence[Place]) -> list[str]:
    """One identifier per place: deterministic, unique, and safe as a file name of nnU-Net on any system.

    Parts are joined by ``__``. Only ``A-Z a-z 0-9 _ . -`` are kept. A name never starts with a dot or a dash, never
    ends in ``_seg`` (nnU-Net's suffix of segmentations) and has at most 150 bytes. Where that changed the path, eight
    digits of its SHA-256 are appended, so that different paths keep different names; places that would share a name all
    get digits of the SHA-256 of their origin. Names that differ in upper and lower case only count as the same.
    """
    names = [_name_path(place.parts) for place in places]
    for digits in (8, 16, 64):
        counts = Counter(name.lower() for name in names)
        if len(counts) == len(names):
            break
        names = [
            name if counts[name.lower()] == 1 else _append(_name_path(place.parts), _hash(place.origin, digits))
            for name, place in zip(names, places, strict=True)
        ]
    return names


def _name_path(parts: Sequence[str]) -> str:
    joined = "__".join(parts)
    safe = _FORBIDDEN.sub("-", joined)
    if safe.startswith((".", "-")):
        safe = "_" + safe[1:]
    if safe.endswith("."):
        safe = safe[:-1] + "-"
    if not safe or _RESERVED.fullmatch(safe):
        safe = "_" + safe
    if safe != joined or len(safe) > LONGEST_IDENTIFIER:
        return _append(safe, _hash("/".join(parts), 8))
    return safe + "-" if safe.lower().endswith("_seg") else safe


def _append(name: str, digits: str) -> str:
    return f"{name[: LONGEST_IDENTIFIER - 1 - len(digits)]}-{digits}"


def _hash(text: str, digits: int) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:digits]
