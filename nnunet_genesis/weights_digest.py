"""A checksum of weights that does not depend on how a file stores them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and values of all tensors, in hexadecimal.

    The order of the names, the device and the layout in memory do not matter. Aliases count as tensors of their own.

    Args:
        weights: State dict.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu()
        # One line of JSON per tensor: neither a name nor a shape can run into what follows.
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode() + b"\n")
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
