"""What this machine is, for records of what was measured on it."""

from __future__ import annotations

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


def accelerator_name() -> str:
    """The GPU, or "none"."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
