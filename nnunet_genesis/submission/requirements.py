"""The versions of this environment that a package needs, as lines for ``pip install --requirement``."""

from __future__ import annotations

import inspect
import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

_CUDA = ("nvidia-", "cuda-", "triton", "pytorch-triton")
"""Torch pins these itself, to other versions in each of its builds."""


def pin_requirements(package: str) -> list[str]:
    """Pin a package and all that it needs, directly or not, to what is installed here.

    Local labels of versions (``+cu130``, ``+cpu``) are dropped, and CUDA's libraries left to torch: the package index
    has one build of each version, for a CUDA of its own.

    Args:
        package: An installed distribution.

    Returns:
        Sorted ``name==version`` lines. What the package can do without, and is not here, is left out.
    """
    pinned: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(package, frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = entry = waiting.pop()
        if entry in seen or name.startswith(_CUDA):
            continue
        seen.add(entry)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        pinned[canonicalize_name(name)] = Version(found.version).public
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return [f"{name}=={version}" for name, version in sorted(pinned.items())]


def installed_from_elsewhere(lines: Sequence[str]) -> list[str]:
    """Which of the pinned packages were not installed from a package index, and so may differ from what it has.

    Args:
        lines: From `pin_requirements`.

    Returns:
        ``name (where it was installed from)``, sorted.
    """
    told = []
    for name in (line.partition("==")[0] for line in lines):
        found = distribution(name)
        text = found.read_text("direct_url.json")
        if text and (found.read_text("INSTALLER") or "").strip() != "conda":  # it names the machine that built it
            told.append(f"{name} ({json.loads(text).get('url', 'a file')})")
    return sorted(told)


def is_part_of(package: str, found: type) -> bool:
    """Whether a class is in one of the files that a package was installed with; True where it was not by a copy.

    Args:
        package: An installed distribution.
        found: A class of it, or one that somebody put into its folder.
    """
    files = distribution(package).files
    own = {Path(str(distribution(package).locate_file(file))).resolve() for file in files or ()}
    source = Path(inspect.getfile(found)).resolve()
    is_editable = not any(file.suffix == ".py" and file.parent.name == package for file in own)
    return is_editable or source in own
