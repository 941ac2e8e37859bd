"""What progress bars tell, and how often."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta


def expected_end(started: float, done: int, left: int) -> str:
    """Weekday and time of the end, if all goes on as fast.

    Args:
        started: Of what was done, on the clock of `time.monotonic`.
        done: At least 1.
        left: How many are to come.
    """
    remaining = (time.monotonic() - started) / done * left
    return (datetime.now() + timedelta(seconds=remaining)).strftime("%a %H:%M")


def seconds_between_updates() -> float:
    """For a bar: one that is not on a terminal goes to a log, one line a minute there."""
    return 0.5 if sys.stderr.isatty() else 60
