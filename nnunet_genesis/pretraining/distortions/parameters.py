"""What all sampled parameters share: a batch axis that can be sliced, and seeds for bulky noise, drawn later."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from typing_extensions import Self


class BatchParameters:
    """Base of the frozen dataclasses of sampled parameters; fields are CPU tensors (batch, ...) or such parameters."""

    def select(self, samples: slice) -> Self:
        """Parameters of a part of the batch, e.g. of one process in distributed training."""
        parts = {}
        for part in fields(self):  # type: ignore[arg-type]
            value = getattr(self, part.name)
            parts[part.name] = value.select(samples) if isinstance(value, BatchParameters) else value[samples]
        return replace(self, **parts)  # type: ignore[type-var]


def draw_seeds(batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """Draw one seed per sample.

    Returns:
        (batch,) int64 in [0, 2**62).
    """
    return torch.randint(0, 1 << 62, (batch_size,), generator=generator)


def draw_normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Draw standard normal numbers from such a seed on the CPU, float32."""
    rng = np.random.Generator(np.random.SFC64(seed))
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def sample_occurrence(batch_size: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Draw which samples a distortion happens to.

    Returns:
        (batch,) bool, True with the given probability.
    """
    return torch.rand(batch_size, generator=generator) < probability


def sample_uniform_integers(low: torch.Tensor, high: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw integers uniformly from [low, high], bounds included, elementwise.

    Args:
        low: Integer tensor.
        high: Integer tensor of the same shape, not below `low`.
        generator: Source of randomness.
    """
    fraction = torch.rand(low.shape, generator=generator, dtype=torch.float64)
    return low + (fraction * (high - low + 1)).long()
