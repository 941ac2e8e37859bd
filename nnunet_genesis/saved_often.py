"""Long work whose results are written while it goes on, so that an end before its time costs a minute of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ItemT = TypeVar("ItemT")
SECONDS_BETWEEN_SAVES = 60.0


def saved_often(items: Iterable[ItemT], save: Callable[[], None]) -> Iterator[ItemT]:
    """Hand items on; save what was made of them once in a minute, and at the end, also where making one fails.

    Args:
        items: Made one by one.
        save: Writes what was made of all items that were handed on before the last one.
    """
    saved, is_anything_new = time.monotonic(), False
    try:
        for item in items:
            if is_anything_new and time.monotonic() - saved >= SECONDS_BETWEEN_SAVES:
                save()
                saved = time.monotonic()
            is_anything_new = True
            yield item
    finally:
        if is_anything_new:
            save()
