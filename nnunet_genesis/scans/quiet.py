"""Keep the chatter of image readers from the terminal."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Catch what Python prints, and send to nowhere what C libraries write to the descriptors 1 and 2.

    The descriptors belong to the whole process: other threads are silenced too, so use it in a worker process.
    """
    printed = io.StringIO()
    with ExitStack() as stack:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        for descriptor in (1, 2):
            try:
                saved = os.dup(descriptor)
            except OSError:  # closed, as in a daemon
                continue
            stack.callback(os.close, saved)
            os.dup2(nowhere, descriptor)
            stack.callback(os.dup2, saved, descriptor)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(redirect_stdout(printed))
        stack.enter_context(redirect_stderr(printed))
        yield printed
