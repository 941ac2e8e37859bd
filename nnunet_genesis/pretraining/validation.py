"""Validation on fixed held-out pairs, beside what one gets without any network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from nnunet_genesis.pretraining.pretexts.base import RestorationPairs, restoration_error
from nnunet_genesis.pretraining.seeds import Stream, torch_generator

if TYPE_CHECKING:
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
    """

    identity: float
    blurred: float
    constant: float


class ValidationPairs:
    """Pairs made once from the seed and kept on the CPU.

    Args:
        dataset: Patches of the held-out cases.
        pretext: Makes the pairs.
        seed: The run's seed.
        count: Number of pairs over all processes.
        fabric: Tells which process this is; the first one keeps all pairs, the others their share.
    """

    def __init__(self, dataset: PatchDataset, pretext: Pretext[Any], *, seed: int, count: int, fabric: Fabric) -> None:
        self.pretext, self.fabric, self.count = pretext, fabric, count
        self.parameters = pretext.sample(count, torch_generator(seed, Stream.VAL_DISTORTIONS))
        self.labels = pretext.describe(self.parameters)
        self.share = range(fabric.global_rank, count, fabric.world_size)
        self.pairs = {
            number: self._make(dataset, number) for number in (range(count) if fabric.is_global_zero else self.share)
        }

    def _make(self, dataset: PatchDataset, number: int) -> RestorationPairs:
        patch, inside = dataset[number]
        parameters = self.parameters.select(slice(number, number + 1))
        return self.pretext.make_pairs(patch[None], inside[None], parameters)

    def baselines(self) -> Baselines:
        """Measure what returning the input, the blurred input or a constant gives (on the first process)."""
        pairs = list(self.pairs.values())
        return Baselines(
            identity=_mean_error([pair.distorted for pair in pairs], pairs),
            blurred=min(_mean_error([_blur(pair.distorted, sigma) for pair in pairs], pairs) for sigma in BLUR_SIGMAS),
            constant=_mean_error([_channel_means(pair) for pair in pairs], pairs),
        )

    def evaluate(self, network: nn.Module) -> float:
        """Sum of the pretext's losses, averaged over all pairs; processes share the work and agree on the result.

        Args:
            network: The plain network (outside any wrapper for distributed training).
        """
        device = self.fabric.device
        # Apple's devices have no double precision.
        precise = torch.float32 if device.type == "mps" else torch.float64
        total = torch.zeros((), dtype=precise, device=device)
        network.eval()
        with torch.no_grad(), self.fabric.autocast():
            for number in self.share:
                pair = self.pairs[number]
                moved = RestorationPairs(*(part.to(device) for part in (pair.distorted, pair.target, pair.weight)))
                for loss in self.pretext.losses(network(moved.distorted), moved).values():
                    total += loss.sum()
        network.train()
        reduced = self.fabric.all_reduce(total, reduce_op="sum")
        return float(reduced) / self.count  # type: ignore[arg-type]

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


def _blur(patches: torch.Tensor, sigma: float) -> torch.Tensor:
    array = patches.numpy()
    return torch.from_numpy(gaussian_filter(array, sigma=(0, 0, *[sigma] * (array.ndim - 2))))


def _channel_means(pair: RestorationPairs) -> torch.Tensor:
    axes = tuple(range(2, pair.target.ndim))
    means = (pair.target * pair.weight).sum(axes, keepdim=True) / pair.weight.sum(axes, keepdim=True).clamp_min(1)
    return means.expand_as(pair.target)


def _mean_error(outputs: list[torch.Tensor], pairs: list[RestorationPairs]) -> float:
    return float(np.mean([float(restoration_error(o, pair)) for o, pair in zip(outputs, pairs, strict=True)]))
