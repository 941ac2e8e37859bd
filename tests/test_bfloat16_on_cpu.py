"""Gradients in bfloat16 on a CPU, also of feature maps that are thinner than the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from nnunet_genesis.bfloat16_on_cpu import right_gradients
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.trainers.cpu_autocast import autocast_cpu

if TYPE_CHECKING:
    from collections.abc import Callable


def fill_free_memory() -> None:
    """Leave large numbers where the allocator takes memory from next."""
    tensors = [torch.full((size,), 1e30) for size in (1_000, 10_000, 27_648, 100_000)]
    del tensors


def gradient(network: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Of the weights of a convolution, in bfloat16."""
    network.zero_grad()
    fill_free_memory()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(features)
    output = output if isinstance(output, torch.Tensor) else output.restored
    assert output.dtype is torch.bfloat16
    fill_free_memory()
    output.float().square().sum().backward()
    (weight,) = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    assert weight.grad is not None
    return weight.grad


class InTrainer(nn.Module):
    """A network as trainers run it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with autocast_cpu(torch.bfloat16):
            output: torch.Tensor = self.network(features)
        return output


def in_pretraining(network: nn.Module) -> nn.Module:
    """A network as pretraining runs it."""
    return PretextNetwork(network, None)


@pytest.mark.parametrize(
    ("kernel", "spatial"),
    [
        ((3, 3, 3), (2, 3, 2)),
        ((3, 3, 3), (2, 8, 8)),
        ((3, 1, 1), (2, 8, 8)),
        ((5, 5, 5), (4, 8, 8)),
        ((3, 3, 3), (4, 8, 8)),
        ((3, 3, 3), (1, 8, 8)),
        ((3, 3, 3), (3, 8, 8)),
    ],
)
@pytest.mark.parametrize("wrap", [InTrainer, in_pretraining])
def test_gradients_are_those_of_single_precision(
    kernel: tuple[int, int, int], spatial: tuple[int, int, int], wrap: Callable[[nn.Module], nn.Module]
) -> None:
    generator = torch.Generator().manual_seed(0)
    network = nn.Conv3d(32, 32, kernel, padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2))
    for _ in range(8):
        features = torch.randn(2, 32, *spatial, generator=generator)
        network.zero_grad()
        network(features).square().sum().backward()
        assert network.weight.grad is not None
        expected = network.weight.grad.clone()
        torch.testing.assert_close(
            gradient(wrap(network), features), expected, rtol=0.02, atol=0.02 * expected.abs().max().item()
        )


def test_thin_convolutions_run_in_single_precision_on_every_processor() -> None:
    torch.manual_seed(0)
    network, thin = nn.Conv3d(4, 4, 3, padding=1), torch.randn(1, 4, 2, 8, 8)
    single = network(thin)
    with torch.autocast("cpu", dtype=torch.bfloat16), right_gradients(torch.device("cpu")):
        assert torch.equal(network(thin), single.bfloat16())
    half = nn.Conv3d(4, 4, 3, padding=1).bfloat16()
    half_bias = half.get_parameter("bias")
    with torch.no_grad():
        expected = nn.functional.conv3d(thin.bfloat16().float(), half.weight.float(), half_bias.float(), padding=1)
        with right_gradients(torch.device("cpu")):
            assert torch.equal(half(thin.bfloat16()), expected.bfloat16())


def test_nothing_else_changes() -> None:
    torch.manual_seed(0)
    network, flat = nn.Conv3d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    thin, thick = torch.randn(1, 4, 2, 8, 8), torch.randn(1, 4, 8, 8, 8)
    single = network(thin)
    with right_gradients(torch.device("cpu")):
        assert torch.equal(network(thin), single)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before, flat_before = network(thick), flat(thick[:, :, 0])
        with right_gradients(torch.device("cpu")):
            assert torch.equal(network(thick), before)
            assert torch.equal(flat(thick[:, :, 0]), flat_before)
