"""What the demonstration shows in the terminal: printed lines, and below them one progress bar over all stages."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REFRESH_SECONDS = 0.5
_REFRESH_SECONDS_IN_FILES = 30.0
_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed} elapsed, about {remaining} left{postfix}"


class Console:
    """The progress bar over all stages, counted in the seconds that each is expected to take, and the printing.

    The bar goes to the standard error, what is printed to the standard output.

    Args:
        expected: Seconds that each stage is expected to take, by name.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self.seconds: dict[str, float] = {}
        self._expected = expected
        self._stage = ""
        self._started = self._drawn = time.monotonic()
        self._refresh_seconds = _REFRESH_SECONDS if sys.stderr.isatty() else _REFRESH_SECONDS_IN_FILES
        self._bar = tqdm(total=sum(expected.values()), bar_format=_BAR, smoothing=0, file=sys.stderr)

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        tqdm.write(text, file=sys.stdout)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and fill the bar up to its end."""
        self._stage, self._started = name, time.monotonic()
        self._bar.set_description_str(name, refresh=False)
        self._bar.set_postfix_str("", refresh=False)
        self._bar.refresh()
        before = self._expected_until_now()
        yield
        self.seconds[name] = time.monotonic() - self._started
        self._bar.n = before + self._expected[name]

    def tick(self, news: str = "") -> None:
        """Move the bar by the time that has passed in this stage, short of its end, and show the latest news."""
        now = time.monotonic()
        spent = min(now - self._started, 0.95 * self._expected[self._stage])
        self._bar.n = self._expected_until_now() + spent
        if news:
            self._bar.set_postfix_str(news[:60], refresh=False)
        if now - self._drawn >= self._refresh_seconds:
            self._bar.refresh()
            self._drawn = now

    def close(self) -> None:
        """Leave the bar as it is and end its line."""
        self._bar.close()

    def _expected_until_now(self) -> float:
        return sum(self._expected[done] for done in self.seconds)
