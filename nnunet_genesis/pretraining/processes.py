"""How many processes a run will have, known before any of them is started."""

from __future__ import annotations

import os

from nnunet_genesis.errors import SetupError


def count_processes(num_devices: int) -> tuple[int, int]:
    """Processes per host and number of hosts: torchrun's where it started us, else `num_devices` on this host.

    Raises:
        SetupError: If `num_devices` is below 1.
    """
    if num_devices < 1:
        raise SetupError(f"-num_gpus {num_devices}: must be at least 1", mend="-num_gpus 1")
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return num_devices, 1
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local
