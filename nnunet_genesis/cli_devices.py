"""``-device`` of commands that run without one, too."""

from __future__ import annotations

from nnunet_genesis.errors import SetupError


def choose_device(wanted: str | None) -> str:
    """The device to run on: CUDA where there is one, unless the user wants another.

    Args:
        wanted: What the user says: "cuda", "cpu", "mps" or None.

    Raises:
        SetupError: If it is not there.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted is None:
        return "cuda" if available["cuda"] else "cpu"
    if not available[wanted]:
        raise SetupError(f"-device {wanted}: not available on this machine", mend="-device cpu")
    return wanted
