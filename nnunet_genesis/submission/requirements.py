"""The versions of this environment that a package needs, as lines for ``pip install --requirement``."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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
