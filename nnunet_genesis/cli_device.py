"""The device of commands that take a GPU where there is one."""

from __future__ import annotations

from nnunet_genesis.errors import SetupError

DEVICES = ("cuda", "cpu", "mps")


def choose_device(wanted: str | None) -> str:
    """The device that a user wants, else a GPU where there is one.

    Raises:
        SetupError: If the wanted one is not there.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted is None:
        return "cuda" if available["cuda"] else "cpu"
    if not available[wanted]:
        raise SetupError(f"-device {wanted}: not available on this machine", mend="-device cpu")
    return wanted
