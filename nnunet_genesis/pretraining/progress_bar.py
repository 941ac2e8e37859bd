"""What progress bars tell, and how often."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta

DAYS_TOLD_BY_WEEKDAY = 6
"""Later, a weekday alone could be that of this week or the next."""


def expected_end(started: float, done: int, left: int) -> str:
    """Weekday and time of the end, with the date where it is far off, if all goes on as fast.

    Args:
        started: Of what was done, on the clock of `time.monotonic`.
        done: At least 1.
        left: How many are to come.
    """
    remaining = timedelta(seconds=(time.monotonic() - started) / done * left)
    is_far_off = remaining >= timedelta(days=DAYS_TOLD_BY_WEEKDAY)
    return (datetime.now() + remaining).strftime("%a %d %b %H:%M" if is_far_off else "%a %H:%M")


def seconds_between_updates() -> float:
    """For a bar: one that is not on a terminal goes to a log, one line a minute there."""
    return 0.5 if sys.stderr.isatty() else 60
