"""What is read, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random


@dataclass(frozen=True)
class Reader:
    """One way in for files.

    Attributes:
        name: For reports.
        make: Writes good input into an empty folder; returns the files that are mutated, one at a time.
        read: Reads what is in the folder, given the file that was mutated.
        mutate: Content and random state to another content.
        traps: Contents made by hand, read before all others.
        is_cache: Whether the product may write the files anew.
        in_worker: Whether the product, too, reads it in a process that may die or hang without harm.
    """

    name: str
    make: Callable[[Path], Sequence[Path]]
    read: Callable[[Path, Path], Any]
    mutate: Callable[[bytes, Random], bytes]
    traps: Callable[[Path], Sequence[bytes]] = field(default=lambda _: ())
    in_worker: bool = False
    is_cache: bool = False
