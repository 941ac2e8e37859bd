"""What this machine is: for records of what was measured on it, and for numbers of processes."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor_name() -> str:
    """The processor, as it calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available_cores() -> set[int]:
    """Numbers of the cores that this process may use: those of its job, where a cluster gives it some."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def count_cores() -> int:
    """How many cores this process may use, see `available_cores`."""
    return len(available_cores())


def accelerator_name() -> str:
    """The GPU, or "none"."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
