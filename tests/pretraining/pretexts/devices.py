"""Pairs on a device that has no values, and the sizes that pretexts are tried with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from nnunet_genesis.pretraining.pretexts.base import Pretext

CPU = torch.device("cpu")
SIZES = [(1, (16, 256, 256)), (1, (40, 56, 40)), (4, (32, 32, 32)), (2, (96, 80)), (1, (3, 5, 4)), (2, (1, 32, 32))]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class CountOperations(TorchDispatchMode):
    """Counts the operations on tensors of the meta device: each would be about one launch on a real one."""

    count: int = 0

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        views = ("view", "expand", "select", "slice", "unbind", "transpose", "detach", "alias", "unsqueeze", "permute")
        is_view = func.overloadpacket.__name__.lstrip("_").startswith(views)
        tensors = [value for value in (result, *args) if isinstance(value, torch.Tensor)]
        self.count += not is_view and any(value.device.type == "meta" for value in tensors)
        return result


def make_pairs_on_meta(pretext: Pretext[Any], patches: torch.Tensor, inside: torch.Tensor, seed: int) -> int:
    """Make pairs on a device without values; tell the number of operations."""
    parameters = pretext.sample(len(patches), generator(seed))
    with cast("Any", CountOperations)() as operations:
        pairs = pretext.make_pairs(patches.to("meta"), inside, parameters, random_device=CPU)
    assert pairs.distorted.device.type == "meta"
    assert pairs.distorted.shape == patches.shape
    return int(operations.count)
