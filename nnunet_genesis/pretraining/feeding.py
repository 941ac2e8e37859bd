"""Batches on the device before they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Batch = tuple[torch.Tensor, torch.Tensor]
"""Patches (batch, channels, *spatial), and (batch, spatial axes, 2) what of them is no padding."""


def batches_on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Move patches to a device; the boxes that come with them stay on the CPU.

    On CUDA the next batch is copied on a stream of its own while the device works on the current one. That takes pinned
    memory; from other memory the copy still works, but the host waits for it.
    """
    if device.type != "cuda":
        for patches, inside in batches:
            yield patches.to(device, non_blocking=True), inside
        return
    stream = torch.cuda.Stream(device)
    ahead: tuple[torch.Tensor, torch.Tensor, torch.cuda.Event] | None = None
    for patches, inside in batches:
        with torch.cuda.stream(stream):
            moved = patches.to(device, non_blocking=True), inside, stream.record_event()
        if ahead is not None:
            yield _wait_on_device(*ahead)
        ahead = moved
    if ahead is not None:
        yield _wait_on_device(*ahead)


def _wait_on_device(patches: torch.Tensor, inside: torch.Tensor, copied: torch.cuda.Event) -> Batch:
    current = torch.cuda.current_stream(patches.device)
    current.wait_event(copied)
    # The memory belongs to the copying stream: it must not be given away before this stream has read it.
    patches.record_stream(current)
    return patches, inside
