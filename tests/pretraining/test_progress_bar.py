"""The end that a progress bar expects follows from how fast it went."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from nnunet_genesis.pretraining import progress_bar

if TYPE_CHECKING:
    import pytest


class Afternoon(datetime):
    """A clock that stands on a Thursday."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        del tz
        return datetime(2026, 1, 1, 22, 30)


def test_expected_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "datetime", Afternoon)
    monkeypatch.setattr("time.monotonic", lambda: 1000.0 + timedelta(minutes=10).total_seconds())
    assert progress_bar.expected_end(1000.0, done=5, left=0) == "Thu 22:30"
    assert progress_bar.expected_end(1000.0, done=5, left=10) == "Thu 22:50"
    assert progress_bar.expected_end(1000.0, done=1, left=12) == "Fri 00:30"
    in_an_hour = 6
    assert progress_bar.expected_end(1000.0, done=1, left=6 * 24 * in_an_hour - 1) == "Wed 22:20"
    assert progress_bar.expected_end(1000.0, done=1, left=6 * 24 * in_an_hour) == "Wed 07 Jan 22:30"
    assert progress_bar.expected_end(1000.0, done=1, left=8 * 24 * in_an_hour) == "Fri 09 Jan 22:30"
    assert progress_bar.expected_end(1000.0, done=1, left=29 * 24 * in_an_hour) == "Fri 30 Jan 22:30"
