"""Numbers as a report writes them."""

from __future__ import annotations

import math

_DIGITS = {"hd95": 2}
NOT_KNOWN = "not known"


def score(value: float, metric: str) -> str:
    """A score: three digits, distances in mm two."""
    return NOT_KNOWN if math.isnan(value) else f"{value:.{_digits(metric)}f}"


def change(value: float, metric: str) -> str:
    """A difference, with its sign."""
    return NOT_KNOWN if math.isnan(value) else f"{value:+.{_digits(metric)}f}"


def interval(low: float, high: float, metric: str) -> str:
    """Both ends of an interval."""
    return NOT_KNOWN if math.isnan(low) else f"{change(low, metric)} to {change(high, metric)}"


def p_value(value: float) -> str:
    """A p-value."""
    if math.isnan(value):
        return NOT_KNOWN
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def share(value: float) -> str:
    """A share in percent."""
    return NOT_KNOWN if math.isnan(value) else f"{100 * value:.0f} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _digits(metric: str) -> int:
    return _DIGITS.get(metric, 3)
