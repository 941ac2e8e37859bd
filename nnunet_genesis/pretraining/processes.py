"""How many processes a run will have, known before any of them is started."""

from __future__ import annotations

import os


def count_processes(num_devices: int) -> tuple[int, int]:
    """Processes per host and number of hosts: torchrun's where it started us, else `num_devices` on this host."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return num_devices, 1
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local
