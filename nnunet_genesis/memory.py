"""How much memory there is."""

from __future__ import annotations

import os
import sys


def memory_of_machine() -> int:
    """Bytes of memory of this machine; where the system does not say, as many as there are addresses."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return sys.maxsize
