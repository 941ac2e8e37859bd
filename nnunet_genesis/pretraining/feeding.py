"""Batches on the device before they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Batch = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]
"""Patches (batch, channels, *spatial); (batch, spatial axes, 2) what of them is no padding; labels, (batch,) each."""


def batches_on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Move patches and labels to a device; the boxes that come with them stay on the CPU.

    On CUDA a batch is copied on a stream of its own: the host, which is ahead of the device, asks for it while the
    device still works on the step before. That takes pinned memory; from other memory the copy works, but the host
    waits.
    """
    if device.type != "cuda":
        for patches, inside, labels in batches:
            yield patches.to(device), inside, {name: label.to(device) for name, label in labels.items()}
        return
    stream = torch.cuda.Stream(device)
    for patches, inside, labels in batches:
        with torch.cuda.stream(stream):
            moved = patches.to(device, non_blocking=True)
            moved_labels = {name: label.to(device, non_blocking=True) for name, label in labels.items()}
            copied = stream.record_event()
        current = torch.cuda.current_stream(device)
        current.wait_event(copied)
        # The memory belongs to the copying stream: it must not be given away before this stream has read it.
        for tensor in (moved, *moved_labels.values()):
            tensor.record_stream(current)
        yield moved, inside, moved_labels
