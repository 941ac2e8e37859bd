"""Boxes of voxels, and the way of values to a device.

A processor works on one sample at a time, in pieces that fit its cache, and leaves out what noise will cover; an
accelerator works on a whole batch with few, large operations. Both give the same pairs.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

Box = tuple[slice, ...]
"""One slice per spatial axis."""

CHUNK_VOXELS = 1 << 18
"""Voxels that a processor works on at a time: its temporary arrays stay in the cache, and calls cost little beside."""


_kept = threading.local()


def whole_box(patch_size: tuple[int, ...]) -> Box:
    """The box that covers a patch."""
    return tuple(slice(0, side) for side in patch_size)


def chunks_of_box(box: Box) -> Iterator[Box]:
    """Cut a box along its first axis into pieces of about `CHUNK_VOXELS`."""
    first, *others = box
    plane = math.prod(part.stop - part.start for part in others)
    depth = max(1, CHUNK_VOXELS // max(1, plane))
    for start in range(first.start, first.stop, depth):
        yield (slice(start, min(start + depth, first.stop)), *others)


def scratch(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Memory to work on one piece in, on the CPU; what it held is lost when the same name is asked for again.

    It is kept from call to call, per thread: fresh memory costs more than the work that is done in it.
    """
    size = math.prod(shape)
    name = f"{name} {dtype}"
    kept: torch.Tensor | None = getattr(_kept, name, None)
    if kept is None or len(kept) < size:
        kept = torch.empty(max(size, CHUNK_VOXELS), dtype=dtype)
        setattr(_kept, name, kept)
    return kept[:size].view(shape)


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Send values from the CPU to a device without making the host wait for the device."""
    if device.type != "cuda":
        return values.to(device)  # elsewhere nothing keeps the values alive until they are copied
    return values.pin_memory().to(device, non_blocking=True)
