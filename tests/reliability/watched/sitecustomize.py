"""Python runs this at every start where this folder is on its path: whoever asks for the network is written down."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_LOG = os.environ.get("NETWORK_LOG")


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    asks = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
    # Processes of one machine talk by paths and by descriptors; a host and a port is the network.
    connects = event == "socket.connect" and isinstance(arguments[1], tuple)
    if (asks or connects) and _LOG is not None:
        with Path(_LOG).open("a") as log:
            log.write(f"{event} {arguments[-1] if connects else arguments[0]!r} by {' '.join(sys.argv)[:100]}\n")


if _LOG is not None:
    sys.addaudithook(_note)
