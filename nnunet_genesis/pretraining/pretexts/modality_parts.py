"""Parts that make the encoder hide the modality of a patch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nnunet_genesis.pretraining.pretexts.discriminant import FisherDiscriminant
from nnunet_genesis.pretraining.pretexts.gradient_reversal import Adversary, reversal_ramp
from nnunet_genesis.pretraining.pretexts.parts import HIDDEN_FEATURES, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.pretraining.data import Labels


class ModalityPart(Part):
    """Knows the modalities of patches.

    Args:
        modalities: Modality of every source, or of every channel of its scans, in the order of the labels ``source``
            and ``channel``.
        strength: Of hiding them at the end of the run.
    """

    name = "modality"
    weight = 1.0

    def __init__(self, modalities: Sequence[tuple[str, ...]], strength: float) -> None:
        self.modalities = sorted({name for own in modalities for name in own})
        self.num_classes = len(self.modalities)
        self.strength = strength
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


class ModalityDiscriminant(ModalityPart):
    """Fisher's discriminant tells modalities apart, and the encoder learns to lower its criterion (ours).

    The loss that is logged is the discriminant's cross-entropy, as that of `ModalityAdversary`; its gradient is that
    of the criterion.
    """

    def build(self, num_features: int) -> nn.Module:
        """The discriminant, which has no weights."""
        return FisherDiscriminant(num_features, self.num_classes)

    def losses(self, head: nn.Module, output: torch.Tensor, labels: Labels) -> dict[str, torch.Tensor]:
        """Cross-entropy in value, criterion in gradient, (batch,); in training, the patches are remembered."""
        discriminant, own = _discriminant(head), self.labels(labels)
        features = output.float()
        fit = discriminant.fit()
        entropy = cross_entropy(fit.classify(features.detach()), own, reduction="none")
        # Modalities of which too few patches are remembered count as guessed.
        entropy = torch.where(fit.can_tell[own], entropy, math.log(self.num_classes))
        hiding = discriminant.strength * fit.hiding_loss(features, own)
        if discriminant.training:
            discriminant.remember(features.detach(), own)
        return {self.name: entropy + hiding - hiding.detach()}

    def scores(self, head: nn.Module, output: torch.Tensor, labels: Labels) -> dict[str, torch.Tensor]:
        """Whether the modality is the right one, (batch,), NaN where too few patches are remembered to tell."""
        fit, own = _discriminant(head).fit(), self.labels(labels)
        right = (fit.classify(output.float()).argmax(1) == own).float()
        return {self.score_name: torch.where(fit.can_tell[own], right, torch.nan)}

    def enter_step(self, head: nn.Module, step: int, progress: float) -> None:
        """Set how strongly the encoder hides."""
        del step
        _discriminant(head).strength.fill_(self.strength * reversal_ramp(progress))


class ModalityAdversary(ModalityPart):
    """A network tells modalities apart, while the encoder learns to hide them (Universal Model; sizes are ours).

    Args:
        modalities: See `ModalityPart`.
        strength: Of the reversed gradient at the end of the run, beside a weight of 1 for the classifier itself.
        alternating: Steps of the classifier alone and steps of the encoder alone, in turns, instead of both at once.
    """

    def __init__(self, modalities: Sequence[tuple[str, ...]], strength: float, *, alternating: bool = False) -> None:
        super().__init__(modalities, strength)
        self.alternating = alternating

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


def _discriminant(head: nn.Module) -> FisherDiscriminant:
    if not isinstance(head, FisherDiscriminant):
        raise TypeError(f"{type(head).__name__} is not the head that this part builds")
    return head
