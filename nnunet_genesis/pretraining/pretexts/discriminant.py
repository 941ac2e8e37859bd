"""Fisher's linear discriminant of the last patches, from which an encoder can learn to hide their classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import distributed, nn
from torch.nn.functional import one_hot

from nnunet_genesis.pretraining.scales.patches import NO_LABEL

PATCHES_PER_CLASS = 32
"""Of the memory (ours). Twice as many, or eight times, hid less: features of many steps ago mislead."""
RIDGE = 1.0
"""What is added to the covariance, in units of its mean variance (ours); 0.1 hid less, so few patches they are."""
FEWEST_PATCHES = 4
"""Of a class in the memory, before it counts."""
_SMALLEST_VARIANCE = 1e-6


class Fit(NamedTuple):
    """What the memory tells of the classes.

    Attributes:
        means: (classes, features), mean of each class.
        mean: (features,), of all.
        directions: (classes, features), the inverse covariance times what sets a class apart from the mean; 0 for
            classes that are not known.
        shares: (classes,), of the patches of known classes.
        known: (classes,) bool, whether there are enough patches.
    """

    means: torch.Tensor
    mean: torch.Tensor
    directions: torch.Tensor
    shares: torch.Tensor
    known: torch.Tensor

    @property
    def can_tell(self) -> torch.Tensor:
        """(classes,) bool, whether a patch of a class may be told from others: where one alone is known, none is."""
        return self.known & (self.known.sum() > 1)

    def hiding_loss(self, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """What to lower so that classes cannot be told apart; its gradient alone means something.

        Args:
            features: (batch, features) float32.
            classes: (batch,) int64.

        Returns:
            (batch,), 0 for classes that are not known.
        """
        with _in_full_precision(features):
            own = classes.clamp_min(0)
            apart = (self.directions[own] * features).sum(1)
            # Without the second term, all features would shrink to nothing: that lowers the first one, too.
            spread = ((features - self.means[own]) @ self.directions.T).square() @ self.shares
        return torch.where((classes != NO_LABEL) & self.known[own], 2 * apart - spread, 0)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Unnormalised log-probabilities (batch, classes) of float32 features, for equally frequent classes."""
        with _in_full_precision(features):
            offsets = 0.5 * ((self.means - self.mean) * self.directions).sum(1)
            logits = (features - self.mean) @ self.directions.T - offsets
        return torch.where(self.known | ~self.known.any(), logits, -torch.inf)


class FisherDiscriminant(nn.Module):
    """Tells classes apart as well as a linear function of the last patches' features can, with nothing to train.

    With within-class covariance S and class means m_c, Fisher's criterion tr(S^-1 sum_c p_c (m_c - m)(m_c - m)^T) is 0
    where no linear function tells the classes apart. `Fit.hiding_loss` has its gradient with respect to patches of the
    memory, with the ridge in S held constant; patches that the memory is yet to take get about its direction. A network
    in its place (gradient reversal) is always steps behind: it was at chance while a fresh linear classifier was not.

    Args:
        num_features: Features of a patch.
        num_classes: Classes.
    """

    features: torch.Tensor
    classes: torch.Tensor
    strength: torch.Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        patches = PATCHES_PER_CLASS * num_classes
        self.register_buffer("features", torch.zeros(patches, num_features))
        self.register_buffer("classes", torch.full((patches,), NO_LABEL))
        self.register_buffer("strength", torch.zeros(()), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Hand on features (batch, features): what is made of them depends on their classes."""
        return features

    @torch.no_grad()
    def remember(self, features: torch.Tensor, classes: torch.Tensor) -> None:
        """Put the newest patches, of all processes together, in the place of the oldest.

        Args:
            features: (batch, features).
            classes: (batch,) int64, `NO_LABEL` for none.
        """
        features, classes = _of_all_processes(features.float()), _of_all_processes(classes)
        # Where half precision overflowed, the step is skipped; the memory would keep it.
        usable = features.isfinite().all(1) & (classes != NO_LABEL)
        features = torch.where(usable[:, None], features, 0)
        classes = torch.where(usable, classes, NO_LABEL)
        size = len(self.classes)
        self.features.copy_(torch.cat([self.features, features])[-size:])
        self.classes.copy_(torch.cat([self.classes, classes])[-size:])

    @torch.no_grad()
    def fit(self) -> Fit:
        """Measure what tells the classes of the memory apart."""
        with _in_full_precision(self.features):
            own = self.classes.clamp_min(0)
            members = one_hot(own, self.num_classes).float() * (self.classes != NO_LABEL)[:, None]
            known = members.sum(0) >= FEWEST_PATCHES
            members = members * known
            weight, counts = members.sum(1), members.sum(0)
            shares = counts / counts.sum().clamp_min(1)
            means = members.T @ self.features / counts.clamp_min(1)[:, None]
            centred = (self.features - means[own]) * weight[:, None]
            covariance = centred.T @ centred / weight.sum().clamp_min(1)
            covariance.diagonal().add_(RIDGE * covariance.diagonal().mean() + _SMALLEST_VARIANCE)
            mean = shares @ means
            apart = torch.where(known[:, None], means - mean, 0)
            # solve_ex does not make the host wait for an accelerator; with the ridge there is always a solution.
            solution, _ = torch.linalg.solve_ex(covariance, apart.T)
        return Fit(means, mean, solution.T, shares, known)


def _in_full_precision(features: torch.Tensor) -> torch.autocast:
    """Autocast would take the products in half precision, which the inverse of a covariance cannot bear."""
    return torch.autocast(features.device.type, enabled=False)


def _of_all_processes(values: torch.Tensor) -> torch.Tensor:
    """Values of all processes in their order, which all have as many."""
    if not distributed.is_initialized():
        return values
    gathered = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(gathered, values.contiguous())
    return torch.cat(gathered)
