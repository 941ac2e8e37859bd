"""Small networks of nnU-Net's families, and files that hold their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunet_genesis.interop.source import SourceModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE = Path("checkpoint_final.pth")


def build(
    channels: int = 1,
    outputs: int = 3,
    features: tuple[int, ...] = (4, 8, 16),
    *,
    residual: bool = False,
    dim: int = 3,
    kernels: Sequence[Sequence[int]] | int = 3,
    strides: Sequence[int | Sequence[int]] | None = None,
    convs: int = 1,
    seed: int = 0,
) -> nn.Module:
    """Build a network with its own initialisation; instance norm with random affine parameters."""
    stages = len(features)
    counts: dict[str, Any] = {"n_blocks_per_stage" if residual else "n_conv_per_stage": [convs] * stages}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: nn.Module = (ResidualEncoderUNet if residual else PlainConvUNet)(
            input_channels=channels,
            n_stages=stages,
            features_per_stage=features,
            conv_op=nn.Conv3d if dim == 3 else nn.Conv2d,
            kernel_sizes=kernels,
            strides=strides or [1, *[2] * (stages - 1)],
            num_classes=outputs,
            n_conv_per_stage_decoder=[1] * (stages - 1),
            conv_bias=True,
            norm_op=nn.InstanceNorm3d if dim == 3 else nn.InstanceNorm2d,
            norm_op_kwargs={"affine": True},
            nonlin=nn.LeakyReLU,
            deep_supervision=False,
            **counts,
        )
        for name, parameter in network.named_parameters():
            if ".norm." in name:
                nn.init.uniform_(parameter, 0.5, 1.5)
    return network


def source_of(
    network: nn.Module | Mapping[str, torch.Tensor], architecture: dict[str, Any] | None = None
) -> SourceModel:
    """What a reader would return for a file with these weights."""
    weights = network.state_dict() if isinstance(network, nn.Module) else network
    return SourceModel("a test's weights", FILE, dict(weights), architecture)


def encoder(network: nn.Module) -> nn.Module:
    """The encoder of a network; it returns the feature maps of all stages."""
    return network.get_submodule("encoder")


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    """All tensors as they are now."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
