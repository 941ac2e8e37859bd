"""Half the arithmetic of a training on a CPU, where one asks for it; nnU-Net's own runs there in single precision.

Like nnU-Net's mixed precision on a GPU: the network runs in the lower precision, the weights and their updates stay in
single precision. The loss is computed in single precision, too: unlike that of CUDA, torch's list for CPUs leaves a
softmax, and so a Dice over all voxels, in bfloat16.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nnunet_genesis.bfloat16_on_cpu import right_gradients
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CPU_AUTOCAST_VARIABLE = "nnUNet_genesis_cpu_autocast"
_PRECISIONS = {"bfloat16": torch.bfloat16}


def read_cpu_autocast(
    device: torch.device, recorded: str | None = None, record_file: Path | None = None
) -> torch.dtype | None:
    """The precision that the environment asks for; None for nnU-Net's own, and on other devices than a CPU.

    Args:
        device: Of the training.
        recorded: What a run that is continued began with; it goes on so where the environment says nothing.
        record_file: Where that is recorded, for messages.

    Raises:
        SetupError: If it names an unknown one.
    """
    asked = os.environ.get(CPU_AUTOCAST_VARIABLE)
    name = asked or recorded or ""
    if name and name not in _PRECISIONS:
        known = ", ".join(_PRECISIONS)
        if asked:
            raise SetupError(
                f"the environment variable {CPU_AUTOCAST_VARIABLE} is '{name}': known is {known}",
                mend=f"export {CPU_AUTOCAST_VARIABLE}=bfloat16, or unset it",
            )
        raise SetupError(
            f"this run began in the precision {name!r:.100}, which is not known here; known is {known}",
            where=record_file,
            mend=f"export {CPU_AUTOCAST_VARIABLE}=bfloat16 to go on in that, or put a whole copy of the file back",
        )
    return _PRECISIONS[name] if name and device.type == "cpu" else None


@contextmanager
def autocast_cpu(dtype: torch.dtype | None) -> Iterator[None]:
    """Context in which networks run in a precision; nothing for None."""
    if dtype is None:
        yield
    else:
        with torch.autocast("cpu", dtype=dtype), right_gradients(torch.device("cpu")):
            yield


class LossInSinglePrecision(nn.Module):
    """A loss of nnU-Net that takes outputs of any precision.

    Args:
        loss: nnU-Net's; called with one output and target, or with lists of them (deep supervision).
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Any, targets: Any) -> Any:
        """The loss of outputs, which are turned into single precision first."""
        with torch.autocast("cpu", enabled=False):
            single = outputs.float() if isinstance(outputs, torch.Tensor) else [output.float() for output in outputs]
            return self.loss(single, targets)
