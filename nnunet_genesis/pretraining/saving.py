"""How often a run saves what it can be continued from."""

from __future__ import annotations

import time

from nnunet_genesis.errors import SetupError

DEFAULT_MINUTES = 10.0
SECONDS_UNTIL_RETRY = 60.0
"""After a save that failed, the next one is due so soon."""


class SaveSchedule:
    """Tells when to save: after so many minutes or epochs, whichever comes first, and after the first epoch.

    Args:
        minutes: Longest time between two saves, positive.
        epochs: Finished epochs between two saves, at least 1; None: only time counts.

    Raises:
        SetupError: If an interval is not positive.
    """

    def __init__(self, minutes: float = DEFAULT_MINUTES, epochs: int | None = None) -> None:
        if not minutes > 0:
            raise SetupError(
                f"--save-every-minutes {minutes}: must be positive", mend=f"--save-every-minutes {DEFAULT_MINUTES:g}"
            )
        if epochs is not None and epochs < 1:
            raise SetupError(f"--save-every-epochs {epochs}: must be at least 1", mend="--save-every-epochs 1")
        self._seconds, self._epochs = 60 * minutes, epochs
        self.saved()

    def saved(self, *, written: bool = True) -> None:
        """Start the time anew; where nothing could be written, the next save is due soon."""
        self._last_save = time.monotonic()
        if not written:
            self._last_save -= max(0.0, self._seconds - SECONDS_UNTIL_RETRY)

    def is_due_after_epoch(self, finished: int) -> bool:
        """Whether to save at the end of an epoch; the same in all processes.

        Args:
            finished: Finished epochs, those before an interruption included.
        """
        return finished == 1 or (self._epochs is not None and finished % self._epochs == 0)

    def is_due_by_time(self) -> bool:
        """Whether the last save is too long ago."""
        return time.monotonic() - self._last_save >= self._seconds
