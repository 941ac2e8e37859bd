"""Features at unit variance, whatever the batch: what a head of linear layers can learn from at once."""

from __future__ import annotations

import torch
from torch import distributed, nn

SLOWEST_UPDATE = 0.01
"""Weight of a new batch in the running statistics, after the first hundred batches (ours)."""
_SMALLEST_VARIANCE = 1e-6


class RunningStandardization(nn.Module):
    """Subtracts a running mean and divides by a running standard deviation, feature by feature (ours).

    Averages over space of instance-normalised features hardly differ from patch to patch: their mean was ten to
    twenty times their standard deviation, and a head with hidden layers learned nothing from them in 800 steps. The
    statistics are those of many batches, as one batch is as small as nnU-Net's; of all processes together; and
    constants for the gradient.

    Args:
        num_features: Features.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    num_batches: torch.Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("variance", torch.ones(num_features))
        self.register_buffer("num_batches", torch.zeros(()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Standardise features (batch, num_features); in training their statistics are taken in first."""
        features = features.float()
        if self.training:
            self._take_in(features.detach())
        return (features - self.mean) / (self.variance + _SMALLEST_VARIANCE).sqrt()

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _take_in(self, features: torch.Tensor) -> None:
        mean = _mean_over_processes(features.mean(0))
        # Not from the mean of squares: what is left of their difference would be rounding.
        variance = _mean_over_processes((features - mean).square().mean(0))
        # Where half precision overflowed, the step is skipped; the statistics would never recover.
        finite = (mean.isfinite() & variance.isfinite()).all()
        mean, variance = torch.where(finite, mean, self.mean), torch.where(finite, variance, self.variance)
        self.num_batches += finite
        weight = (1 / self.num_batches.clamp_min(1)).clamp_min(SLOWEST_UPDATE)
        change = mean - self.mean
        # The variance of a mixture: of both parts, and of the distance of their means.
        self.variance.mul_(1 - weight).add_(weight * variance + weight * (1 - weight) * change.square())
        self.mean.add_(weight * change)


def _mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    if distributed.is_initialized():
        distributed.all_reduce(values)
        values = values / distributed.get_world_size()
    return values
