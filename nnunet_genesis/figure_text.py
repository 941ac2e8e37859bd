"""How names and numbers get into pictures."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from matplotlib.ticker import LogFormatter

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axis import Axis

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def names_as_they_are(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function draw text letter by letter: a case or channel may be called ``a$b$``, which is no formula."""

    @wraps(draw)
    def drawn(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        from matplotlib import rc_context

        with rc_context({"text.parse_math": False}):
            return draw(*args, **kwargs)

    return drawn


class _PlainLogFormatter(LogFormatter):
    """Labels the ticks that matplotlib would label with formulas, by numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def plain_log_ticks(axis: Axis, linear_below: float | None = None) -> None:
    """Label a logarithmic axis without formulas, which `names_as_they_are` would draw letter by letter.

    Args:
        axis: Its scale must be set before.
        linear_below: The ``linthresh`` of a symmetric one.
    """
    axis.set_major_formatter(_PlainLogFormatter(linthresh=linear_below))
    axis.set_minor_formatter(_PlainLogFormatter(linthresh=linear_below))
