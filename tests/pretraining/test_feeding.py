"""Batches on their way to the device."""

from __future__ import annotations

import pytest
import torch

from nnunet_genesis.pretraining.feeding import Batch, batches_on_device


def some_batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(2, 1, 8, 8, 8, generator=generator),
            torch.tensor([[[0, 8 - n % 3]] * 3] * 2),
            {"source": torch.tensor([n, 0])},
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_batch_arrives_once_and_in_order(device: str, count: int) -> None:
    batches = some_batches(count)
    pinned = [
        (patches.pin_memory() if device == "cuda" else patches, inside, labels) for patches, inside, labels in batches
    ]
    arrived = list(batches_on_device(pinned, torch.device(device)))
    assert len(arrived) == count
    for (patches, inside, labels), (moved, moved_inside, moved_labels) in zip(batches, arrived, strict=True):
        assert moved.device.type == device
        assert moved_inside.device.type == "cpu", "sizes are read by the host"
        assert torch.equal(moved.cpu(), patches)
        assert torch.equal(moved_inside, inside)
        assert moved_labels["source"].device.type == device
        assert torch.equal(moved_labels["source"].cpu(), labels["source"])
