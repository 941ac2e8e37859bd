"""Validation on fixed held-out pairs, beside what one gets without any network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from nnunet_genesis.pretraining.pretexts.base import RestorationPairs, restoration_error
from nnunet_genesis.pretraining.seeds import Stream, torch_generator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lightning_fabric import Fabric
    from torch import nn

    from nnunet_genesis.pretraining.data import PatchDataset
    from nnunet_genesis.pretraining.pretexts.base import Pretext

BLUR_SIGMAS = (0.5, 1.0, 2.0, 4.0)
"""Gaussian blurs in voxels; the best of them over all pairs is the baseline."""


@dataclass(frozen=True)
class Baselines:
    """Restoration errors that need no network, on the validation pairs (mean squared error in normalised units).

    Attributes:
        identity: Of returning the distorted input.
        blurred: Of returning the input, blurred by the best of `BLUR_SIGMAS`.
        constant: Of returning each channel's mean over the target: a network that learned nothing lands here.
        sources: The same per source; the others weigh them by how often pretraining draws from a source.
    """

    identity: float
    blurred: float
    constant: float
    sources: dict[str, Baselines] = field(default_factory=dict)


MINIMUM_PAIRS = 8
"""Validation pairs of a source at least (but no more than are asked for in all): fewer say nothing about it."""


@dataclass(frozen=True)
class ValidationSource:
    """Held-out patches of one source.

    Attributes:
        name: Name of the source.
        patches: Its held-out patches.
        chance: Its share of the training patches, and its weight in the validation loss.
    """

    name: str
    patches: PatchDataset
    chance: float


class ValidationPairs:
    """Pairs of every source, made once from the seed and kept on the CPU.

    Args:
        sources: Held-out patches per source.
        pretext: Makes the pairs.
        seed: The run's seed.
        count: Number of pairs over all sources and processes; a source has at least `MINIMUM_PAIRS` all the same.
        fabric: Tells which process this is; the first one keeps all pairs, the others their share.
    """

    def __init__(
        self, sources: Sequence[ValidationSource], pretext: Pretext[Any], *, seed: int, count: int, fabric: Fabric
    ) -> None:
        self.pretext, self.fabric = pretext, fabric
        total = sum(source.chance for source in sources)
        self.chances = {source.name: source.chance / total for source in sources}
        counts = [max(min(MINIMUM_PAIRS, count), round(count * self.chances[source.name])) for source in sources]
        origins = [(source, number) for source, own in zip(sources, counts, strict=True) for number in range(own)]
        self.names = [source.name for source, _ in origins]
        self.parameters = pretext.sample(len(origins), torch_generator(seed, Stream.VAL_DISTORTIONS))
        self.labels = pretext.describe(self.parameters)
        self.share = range(fabric.global_rank, len(origins), fabric.world_size)
        self.pairs = {
            number: self._make(number, *origins[number])
            for number in (range(len(origins)) if fabric.is_global_zero else self.share)
        }

    def _make(self, number: int, source: ValidationSource, own_number: int) -> RestorationPairs:
        patch, inside = source.patches[own_number]
        parameters = self.parameters.select(slice(number, number + 1))
        return self.pretext.make_pairs(patch[None], inside[None], parameters)

    def baselines(self) -> Baselines:
        """Measure what returning the input, the blurred input or a constant gives (on the first process)."""
        own = {name: _measure_baselines(self._pairs_of(name)) for name in self.chances}
        return Baselines(
            identity=self.overall({name: baselines.identity for name, baselines in own.items()}),
            blurred=self.overall({name: baselines.blurred for name, baselines in own.items()}),
            constant=self.overall({name: baselines.constant for name, baselines in own.items()}),
            sources=own,
        )

    def overall(self, losses: Mapping[str, float]) -> float:
        """Weigh losses per source by how often pretraining draws from it."""
        return sum(self.chances[name] * loss for name, loss in losses.items())

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """Sum of the pretext's losses per source, averaged over its pairs; processes share the work and agree.

        Args:
            network: The plain network (outside any wrapper for distributed training).
        """
        device = self.fabric.device
        # Apple's devices have no double precision.
        precise = torch.float32 if device.type == "mps" else torch.float64
        order = list(self.chances)
        totals = torch.zeros(len(order), dtype=precise, device=device)
        network.eval()
        with torch.no_grad(), self.fabric.autocast():
            for number in self.share:
                pair = self.pairs[number]
                moved = RestorationPairs(*(part.to(device) for part in (pair.distorted, pair.target, pair.weight)))
                for loss in self.pretext.losses(network(moved.distorted), moved).values():
                    totals[order.index(self.names[number])] += loss.sum()
        network.train()
        reduced = self.fabric.all_reduce(totals, reduce_op="sum").tolist()  # type: ignore[union-attr]
        return {name: total / self.names.count(name) for name, total in zip(order, reduced, strict=True)}

    def label(self, number: int) -> str:
        """What was done to a pair, and where it comes from if there are several sources."""
        origin = f"{self.names[number]}: " if len(self.chances) > 1 else ""
        return f"{origin}{self.labels[number]}"

    def _pairs_of(self, name: str) -> list[RestorationPairs]:
        return [pair for number, pair in self.pairs.items() if self.names[number] == name]

    def restore(self, network: nn.Module, numbers: list[int]) -> list[torch.Tensor]:
        """Run the network on some pairs (on the first process).

        Returns:
            One (1, channels, *spatial) tensor on the CPU per number.
        """
        network.eval()
        with torch.no_grad(), self.fabric.autocast():
            restored = [network(self.pairs[n].distorted.to(self.fabric.device)).float().cpu() for n in numbers]
        network.train()
        return restored


def _measure_baselines(pairs: list[RestorationPairs]) -> Baselines:
    return Baselines(
        identity=_mean_error([pair.distorted for pair in pairs], pairs),
        blurred=min(_mean_error([_blur(pair.distorted, sigma) for pair in pairs], pairs) for sigma in BLUR_SIGMAS),
        constant=_mean_error([_channel_means(pair) for pair in pairs], pairs),
    )


def _blur(patches: torch.Tensor, sigma: float) -> torch.Tensor:
    array = patches.numpy()
    return torch.from_numpy(gaussian_filter(array, sigma=(0, 0, *[sigma] * (array.ndim - 2))))


def _channel_means(pair: RestorationPairs) -> torch.Tensor:
    axes = tuple(range(2, pair.target.ndim))
    means = (pair.target * pair.weight).sum(axes, keepdim=True) / pair.weight.sum(axes, keepdim=True).clamp_min(1)
    return means.expand_as(pair.target)


def _mean_error(outputs: list[torch.Tensor], pairs: list[RestorationPairs]) -> float:
    return float(np.mean([float(restoration_error(o, pair)) for o, pair in zip(outputs, pairs, strict=True)]))
