"""Small networks of nnU-Net's families, and files that hold their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nnunet_genesis.interop.source import SourceModel
from nnunet_genesis.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE = Path("checkpoint_final.pth")


def describe(
    features: tuple[int, ...] = (4, 8, 16),
    *,
    residual: bool = False,
    dim: int = 3,
    kernels: Sequence[Sequence[int]] | None = None,
    strides: Sequence[Sequence[int]] | None = None,
    blocks: Sequence[int] | None = None,
    decoder_blocks: int = 1,
    norm: str = "instancenorm.InstanceNorm",
    conv_bias: bool = True,
) -> dict[str, Any]:
    """The ``architecture`` entry of plans."""
    stages = len(features)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet."
        + ("ResidualEncoderUNet" if residual else "PlainConvUNet"),
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(features),
            "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
            "kernel_sizes": list(kernels or [[3] * dim] * stages),
            "strides": list(strides or [[1] * dim, *[[2] * dim] * (stages - 1)]),
            "n_blocks_per_stage" if residual else "n_conv_per_stage": list(blocks or [1] * stages),
            "n_conv_per_stage_decoder": [decoder_blocks] * (stages - 1),
            "conv_bias": conv_bias,
            "norm_op": f"torch.nn.modules.{norm}{dim}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def build(channels: int = 1, outputs: int = 3, *, seed: int = 0, **description: Any) -> nn.Module:
    """Build a network with weights of its own; biases and norms are random, too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(describe(**description), channels, outputs)
        for parameter in network.parameters():
            if parameter.ndim == 1:
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
