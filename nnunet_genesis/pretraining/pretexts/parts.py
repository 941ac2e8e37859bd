"""Parts of pretexts: each is a head on the deepest encoder stage with its loss and its score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nnunet_genesis.pretraining.pretexts.standardization import RunningStandardization
from nnunet_genesis.pretraining.scales.patches import NO_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.pretraining.data import Labels

HIDDEN_FEATURES = 256


class Part(ABC):
    """A classifier of patches by the global average of the deepest stage.

    Attributes:
        name: Of its output and of its loss.
        weight: Of the loss.
        num_classes: What guessing is right once in so many times.
    """

    name: str
    weight: float
    num_classes: int

    @property
    def score_name(self) -> str:
        """Name of its score."""
        return f"{self.name}_accuracy"

    @abstractmethod
    def labels(self, labels: Labels) -> torch.Tensor:
        """Class of every patch, (batch,) int64, `NO_LABEL` where there is none."""

    @abstractmethod
    def build(self, num_features: int) -> nn.Module:
        """Make the head: from (batch, num_features) to (batch, num_classes)."""

    def losses(self, head: nn.Module, output: torch.Tensor, labels: Labels) -> dict[str, torch.Tensor]:
        """The weighted cross-entropy, (batch,), of what the head said."""
        del head
        entropy = cross_entropy(output.float(), self.labels(labels), reduction="none", ignore_index=NO_LABEL)
        return {self.name: self.weight * entropy}

    def scores(self, head: nn.Module, output: torch.Tensor, labels: Labels) -> dict[str, torch.Tensor]:
        """Whether the class is the right one, (batch,), NaN where there is none."""
        del head
        wanted = self.labels(labels)
        right = (output.argmax(1) == wanted).float()
        return {self.score_name: torch.where(wanted == NO_LABEL, torch.nan, right)}

    def commonest(self, labels: Labels) -> float:
        """Share of the commonest class among patches that have one; chance for balanced classes where none has."""
        own = self.labels(labels)
        counts = torch.bincount(own[own != NO_LABEL].cpu(), minlength=self.num_classes)
        return float(counts.max() / counts.sum()) if int(counts.sum()) else 1 / self.num_classes

    def enter_step(self, head: nn.Module, step: int, progress: float) -> None:
        """Prepare the head for a step, at a share of the run in [0, 1]."""
        del head, step, progress


class ScaleClassifier(Part):
    """Tells by how much a crop was shrunk (Universal Model; sizes and weight are ours).

    Args:
        scales: The scales, in the order of their labels.
        weight: Of the loss.
    """

    name = "scale"

    def __init__(self, scales: Sequence[float], weight: float) -> None:
        self.num_classes, self.weight = len(scales), weight

    def labels(self, labels: Labels) -> torch.Tensor:
        """The label ``scale``."""
        return labels["scale"]

    def build(self, num_features: int) -> nn.Module:
        """One hidden layer."""
        return nn.Sequential(
            nn.Linear(num_features, HIDDEN_FEATURES), nn.ReLU(), nn.Linear(HIDDEN_FEATURES, self.num_classes)
        )


class PartHeads(nn.Module):
    """The heads of several parts on the same features.

    Args:
        parts: At least one.
        num_features: Of the deepest stage.
    """

    def __init__(self, parts: Sequence[Part], num_features: int) -> None:
        super().__init__()
        self.standardization = RunningStandardization(num_features)
        self.heads = nn.ModuleDict({part.name: part.build(num_features) for part in parts})

    def forward(self, deepest: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Outputs of all heads by name, for (batch, num_features, *spatial)."""
        # In half precision the differences between patches would be lost in the average.
        features = self.standardization(deepest.float().flatten(2).mean(2))
        return {name: head(features) for name, head in self.heads.items()}
