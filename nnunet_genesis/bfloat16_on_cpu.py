"""3D convolutions whose gradients are garbage in bfloat16 on a CPU run in single precision instead.

Where the kernel is deeper than the feature map (depth is the first spatial axis), parts of oneDNN's gradient of the
weights are whatever the memory held before: seen with torch 2.15 on a processor with AVX512-BF16 for side 3 at depth 2,
side 5 at depths 2 to 4 and side 7 at depth 5. Some of these numbers are huge, and the step is skipped; others would go
unnoticed. Feature maps that thin are those of small crops and cost nothing in single precision.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager


def right_gradients(device: torch.device) -> AbstractContextManager[Any]:
    """Context for the forward pass of a network; does nothing on other devices than a CPU, and in single precision.

    Autocast has to be active inside, if it is wanted. Outputs have the precision that they would have without this.

    Args:
        device: Of the network.
    """
    return _ThinConvolutionsInSinglePrecision() if device.type == "cpu" else nullcontext()


class _ThinConvolutionsInSinglePrecision(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func is not torch.conv3d:
            return func(*args, **kwargs)
        features, weight, *others = args
        if weight.shape[2] <= features.shape[2] or not _runs_in_bfloat16(features):
            return func(*args, **kwargs)
        others = [other.float() if isinstance(other, torch.Tensor) else other for other in others]
        with torch.autocast("cpu", enabled=False):
            return func(features.float(), weight.float(), *others, **kwargs).bfloat16()


def _runs_in_bfloat16(features: torch.Tensor) -> bool:
    if features.dtype is torch.bfloat16:
        return True
    try:
        return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    except TypeError:  # before torch 2.4 there was a function for each device
        return torch.is_autocast_cpu_enabled() and torch.get_autocast_cpu_dtype() is torch.bfloat16
