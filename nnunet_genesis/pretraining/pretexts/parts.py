"""Parts of pretexts: each is a head on the deepest encoder stage with its loss and its score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nnunet_genesis.pretraining.pretexts.gradient_reversal import Adversary, reversal_ramp
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

    def losses(self, logits: torch.Tensor, labels: Labels) -> dict[str, torch.Tensor]:
        """The weighted cross-entropy, (batch,)."""
        entropy = cross_entropy(logits.float(), self.labels(labels), reduction="none", ignore_index=NO_LABEL)
        return {self.name: self.weight * entropy}

    def scores(self, logits: torch.Tensor, labels: Labels) -> dict[str, torch.Tensor]:
        """Whether the class is the right one, (batch,), NaN where there is none."""
        wanted = self.labels(labels)
        right = (logits.argmax(1) == wanted).float()
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


class ModalityAdversary(Part):
    """Tells modalities apart, while the encoder learns to hide them (Universal Model; sizes and weights are ours).

    Args:
        modalities: Modality of every source, or of every channel of its scans, in the order of the labels ``source``
            and ``channel``.
        strength: Of the reversed gradient at the end of the run, beside a weight of 1 for the classifier itself.
        alternating: Steps of the classifier alone and steps of the encoder alone, in turns, instead of both at once.
    """

    name = "modality"
    weight = 1.0

    def __init__(self, modalities: Sequence[tuple[str, ...]], strength: float, *, alternating: bool = False) -> None:
        self.modalities = sorted({name for own in modalities for name in own})
        self.num_classes = len(self.modalities)
        self.strength, self.alternating = strength, alternating
        most = max(map(len, modalities))
        # A single name stands for all channels.
        rows = [own * most if len(own) == 1 else own for own in modalities]
        self._modality_of = torch.tensor(
            [[self.modalities.index(name) for name in row] + [0] * (most - len(row)) for row in rows]
        )

    def labels(self, labels: Labels) -> torch.Tensor:
        """Modality of each patch's source, or of its channel there."""
        source = labels["source"]
        self._modality_of = self._modality_of.to(source.device)  # kept there: a copy in every step makes the host wait
        if self._modality_of.shape[1] == 1:
            return self._modality_of[source, 0]
        return self._modality_of[source, labels["channel"]]

    def build(self, num_features: int) -> nn.Module:
        """Two hidden layers behind a reversed gradient."""
        return Adversary(
            nn.Sequential(
                nn.Linear(num_features, HIDDEN_FEATURES),
                nn.ReLU(),
                nn.Linear(HIDDEN_FEATURES, HIDDEN_FEATURES),
                nn.ReLU(),
                nn.Linear(HIDDEN_FEATURES, self.num_classes),
            )
        )

    def enter_step(self, head: nn.Module, step: int, progress: float) -> None:
        """Set how strongly the gradient is reversed, and whose turn it is."""
        if not isinstance(head, Adversary):
            raise TypeError(f"{type(head).__name__} is not the head that this part builds")
        strength = self.strength * reversal_ramp(progress)
        if not self.alternating:
            head.set_stage(strength, learns=True)
        elif step % 2:
            head.set_stage(strength, learns=False)
        else:
            head.set_stage(0.0, learns=True)


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
