"""Gradient reversal (Ganin and Lempitsky, arXiv 1409.7495): a head learns what the encoder learns to hide."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.func import functional_call


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(factor)
        return features.view_as(features)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (factor,) = context.saved_tensors
        return -factor * gradients[0], None


def reverse_gradient(features: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return the features; their gradient is that of the result times minus the factor (a tensor of one value)."""
    reversed_: torch.Tensor = _Reverse.apply(features, factor)
    return reversed_


def reversal_ramp(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: 0 at the beginning of a run, near 1 at its end."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class Adversary(nn.Module):
    """A module whose input's gradient is reversed.

    Attributes:
        strength: One value, what the gradient is multiplied with (besides -1); set before every step.
        learns: Whether the module's own weights get gradients; with none, the optimiser leaves them as they are.

    Args:
        module: From features to an output.
    """

    strength: torch.Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.learns = module, True
        self.register_buffer("strength", torch.zeros(()), persistent=False)

    def set_stage(self, strength: float, *, learns: bool) -> None:
        """Say what the next steps shall do."""
        self.strength.fill_(strength)
        self.learns = learns

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Run the module on features of any shape."""
        features = reverse_gradient(features, self.strength)
        if self.learns:
            output: torch.Tensor = self.module(features)
            return output
        # No gradient, where one of zeros would let an optimiser's momentum move the weights on.
        weights = {name: weight.detach() for name, weight in self.module.named_parameters()}
        fixed: torch.Tensor = functional_call(self.module, weights, (features,))
        return fixed
