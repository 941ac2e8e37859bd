"""Heads on the deepest encoder stage."""

from __future__ import annotations

import torch
from torch import nn

HIDDEN_FEATURES = 1024
NORM_GROUPS = 32


class ClassificationHead(nn.Module):
    """Convolution of side 3 to 1024 features, norm, ReLU, global average, linear (Semantic Genesis' recipe).

    The norm is a group norm instead of the published batch norm, for batches as small as nnU-Net's (ours).

    Args:
        name: Of the output.
        num_features: Of the deepest stage.
        num_classes: Classes to tell apart.
        num_axes: Two or three spatial axes.
    """

    def __init__(self, name: str, num_features: int, num_classes: int, num_axes: int) -> None:
        super().__init__()
        self.name = name
        convolution = nn.Conv2d if num_axes == 2 else nn.Conv3d
        self.features = nn.Sequential(
            convolution(num_features, HIDDEN_FEATURES, 3, padding=1),
            nn.GroupNorm(NORM_GROUPS, HIDDEN_FEATURES),
            nn.ReLU(inplace=True),
        )
        self.classes = nn.Linear(HIDDEN_FEATURES, num_classes)

    def forward(self, deepest: torch.Tensor) -> dict[str, torch.Tensor]:
        """Classify (batch, num_features, *spatial): unnormalised log-probabilities (batch, num_classes) by name."""
        return {self.name: self.classes(self.features(deepest).flatten(2).mean(2))}
