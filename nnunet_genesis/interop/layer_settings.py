"""Settings of layers that files of others leave out, as an ``architecture`` entry of nnU-Net v2's plans holds them."""

from __future__ import annotations

from typing import Any

IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")
"""Arguments that name classes."""


def default_layer_settings(dim: int) -> dict[str, Any]:
    """What nnU-Net's planners write: biases, instance normalisation, LeakyReLU, no dropout.

    Args:
        dim: Spatial axes, 2 or 3.
    """
    return {
        "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
