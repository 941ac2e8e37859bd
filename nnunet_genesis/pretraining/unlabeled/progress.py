"""Progress bars of a pool that is being built."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

from nnunet_genesis.pretraining.progress_bar import expected_end, seconds_between_updates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class BuildProgress:
    """A bar over the scans of a run, with the expected end.

    Args:
        total: Scans of the run.
        done: Scans that were in the pool before.
        name: Name of the pool.
    """

    def __init__(self, total: int, done: int, name: str) -> None:
        self._started = time.monotonic()
        self._first, self._done, self._total = done, done, total
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="scan",
            desc=name,
            dynamic_ncols=True,
            mininterval=seconds_between_updates(),
        )

    def step(self, kept: int, skipped: int) -> None:
        """Show that one more scan is done."""
        self._done += 1
        end = expected_end(self._started, self._done - self._first, self._total - self._done)
        self._bar.set_postfix({"kept": kept, "skipped": skipped, "end": end}, refresh=False)
        self._bar.update(1)

    def close(self) -> None:
        """Finish the bar."""
        self._bar.close()


@contextmanager
def count_files() -> Iterator[Callable[[int], None]]:
    """Show how many files a search has looked at."""
    with tqdm(unit="file", desc="finding scans", dynamic_ncols=True, mininterval=seconds_between_updates()) as bar:

        def show(looked_at: int) -> None:
            bar.update(looked_at - bar.n)

        yield show
