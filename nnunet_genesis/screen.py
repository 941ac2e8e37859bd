"""What a command says on its way must not end it: a screen that cannot be written misses lines, and nothing else."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

CANNOT_WRITE = (OSError, ValueError)
"""Full disks, pipes that nobody reads and terminals that are gone; streams that were closed."""


class UnfailingStream:
    """Stands in for a stream, and drops what that one cannot take.

    Args:
        stream: Asked for all else, like its width and its encoding.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Hand on."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write if possible; what the stream's encoding lacks is escaped."""
        with suppress(*CANNOT_WRITE):
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(*CANNOT_WRITE):
            self._stream.flush()

    def finish(self) -> None:
        """Drop what still waits: Python flushes when it ends, and would exit with 120 where that fails."""
        try:
            self._stream.flush()
        except CANNOT_WRITE:
            with suppress(*CANNOT_WRITE), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextmanager
def unfailing_screen(*, results_too: bool) -> Iterator[None]:
    """Context in which writing to stderr never fails, whoever does it: log, progress bars, warnings, argparse.

    Args:
        results_too: The same for stdout: not for commands whose result is what they print.
    """
    with ExitStack() as stack:
        for stream, redirect in ((sys.stderr, redirect_stderr), (sys.stdout, redirect_stdout)):
            if redirect is redirect_stdout and not results_too:
                continue
            # Python has no stream where the descriptor was closed from the beginning, as in a daemon.
            there = stream or stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            unfailing = UnfailingStream(there)
            stack.callback(unfailing.finish)
            stack.enter_context(redirect(cast("TextIO", unfailing)))
        yield
