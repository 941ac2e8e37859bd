"""Validation on fixed held-out pairs, beside what one gets without any network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from nnunet_genesis.pretraining.pretexts.base import RestorationPairs
from nnunet_genesis.pretraining.seeds import Stream, torch_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lightning_fabric import Fabric
    from torch.utils.data import Dataset

    from nnunet_genesis.pretraining.data import Labels, Patch
    from nnunet_genesis.pretraining.pretext_network import PretextNetwork
    from nnunet_genesis.pretraining.pretexts.base import Pretext

KINDS_OF_LOSS = ("restoration", "head")
BLUR_SIGMAS = (0.5, 1.0, 2.0, 4.0)
"""Gaussian blurs in voxels; the best of them over all pairs is the baseline."""


@dataclass(frozen=True)
class Baselines:
    """Restoration losses that need no network, on the validation pairs.

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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Baselines | None:
        """Read what a checkpoint holds; None where it does not hold all of them."""
        sources = {name: cls.from_dict(own) for name, own in values.get("sources", {}).items()}
        known = {name: own for name, own in sources.items() if own is not None}
        if len(known) < len(sources) or not {"identity", "blurred", "constant"} <= values.keys():
            return None
        return cls(values["identity"], values["blurred"], values["constant"], known)


MINIMUM_PAIRS = 8
"""Validation pairs of a source at least (but no more than are asked for in all): fewer say nothing about it."""


@dataclass(frozen=True)
class ValidationSource:
    """Held-out patches of one source.

    Attributes:
        name: Name of the source.
        patches: Its held-out patches.
        chance: Its share of the training patches, and its weight in the validation loss.
        number: Its number among the sources that pretraining draws from: the label ``source`` of its patches.
    """

    name: str
    patches: Dataset[Patch]
    chance: float
    number: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What a network achieves on the validation pairs.

    Attributes:
        loss: Sum of the pretext's losses but adversarial ones, sources weighed by how often pretraining draws from
            them.
        losses: Each loss by its name, weighed likewise.
        scores: Each score of the pretext's heads, over all pairs that it has something to say of, if there are any.
        restoration: Sum of the losses of restoration per source, as the baselines are.
        contrast: Standard deviation of a restoration over that of its target, where voxels count: mean over pairs;
            near 0, the network restores a constant.
    """

    loss: float
    losses: Mapping[str, float]
    scores: Mapping[str, float]
    restoration: Mapping[str, float]
    contrast: float


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
        count = max(count, pretext.minimum_validation_patches)
        total = sum(source.chance for source in sources)
        self.chances = {source.name: source.chance / total for source in sources}
        counts = [max(min(MINIMUM_PAIRS, count), round(count * self.chances[source.name])) for source in sources]
        origins = [(source, number) for source, own in zip(sources, counts, strict=True) for number in range(own)]
        self.names = [source.name for source, _ in origins]
        self.parameters = pretext.sample(len(origins), torch_generator(seed, Stream.VAL_DISTORTIONS))
        self.labels = pretext.describe(self.parameters)
        self.share = range(fabric.global_rank, len(origins), fabric.world_size)
        self.pairs: dict[int, RestorationPairs] = {}
        self.patch_labels: dict[int, Labels] = {}
        for number in range(len(origins)) if fabric.is_global_zero else self.share:
            self._make(number, *origins[number])
        self._num_scored: dict[str, int] = {}
        """Pairs that each score of the last evaluation had something to say of."""

    def _make(self, number: int, source: ValidationSource, own_number: int) -> None:
        patch, inside, labels = source.patches[own_number]
        parameters = self.parameters.select(slice(number, number + 1))
        self.pairs[number] = self.pretext.make_pairs(patch[None], inside[None], parameters)
        self.patch_labels[number] = {
            name: torch.tensor([label]) for name, label in {**labels, "source": source.number}.items()
        }

    @cached_property
    def score_chances(self) -> Mapping[str, float]:
        """What guessing would score on the pairs of this process, by the name of the score."""
        labels = list(self.patch_labels.values())
        names = set.intersection(*(set(own) for own in labels)) if labels else set()
        return self.pretext.chances_among({name: torch.cat([own[name] for own in labels]) for name in sorted(names)})

    @cached_property
    def num_distinct(self) -> int:
        """Different patches among the pairs of this process: one that is distorted anew tells little that is new."""
        return len({hashlib.sha256(pair.target.numpy().tobytes()).digest() for pair in self.pairs.values()})

    def num_scored(self, score: str) -> int:
        """Different patches that a score of the last evaluation had something to say of (on the first process)."""
        return min(self.num_distinct, self._num_scored.get(score, self.num_distinct))

    def baselines(self) -> Baselines:
        """Measure what returning the input, the blurred input or a constant gives (on the first process)."""
        own = {name: self._measure_baselines(self._pairs_of(name)) for name in self.chances}
        return Baselines(
            identity=self.overall({name: baselines.identity for name, baselines in own.items()}),
            blurred=self.overall({name: baselines.blurred for name, baselines in own.items()}),
            constant=self.overall({name: baselines.constant for name, baselines in own.items()}),
            sources=own,
        )

    def overall(self, losses: Mapping[str, float]) -> float:
        """Weigh losses per source by how often pretraining draws from it."""
        return sum(self.chances[name] * loss for name, loss in losses.items())

    def evaluate(self, network: PretextNetwork) -> Evaluation:
        """Measure the pretext's losses and scores on all pairs; processes share the work and agree.

        Args:
            network: With its heads, outside any wrapper for distributed training.
        """
        own: dict[int, dict[tuple[str, str], torch.Tensor]] = {}
        network.eval()
        with torch.no_grad(), self.fabric.autocast():
            for number in self.share:
                own[number] = self._judge(network, number)
        network.train()
        # A process without pairs of its own learns from the first one what is measured.
        columns = self.fabric.broadcast(list(own[0]) if self.fabric.is_global_zero else [])
        table = torch.zeros(len(self.names), len(columns), device=self.fabric.device)
        for number, row in own.items():
            table[number] = torch.stack([row[column].float().squeeze(0) for column in columns])
        table = self.fabric.all_reduce(table, reduce_op="sum").cpu().double()  # type: ignore[union-attr]
        values = {column: table[:, position] for position, column in enumerate(columns)}
        restoration = sum(own for (kind, _), own in values.items() if kind == "restoration")
        self._num_scored = {name: int((~own.isnan()).sum()) for (kind, name), own in values.items() if kind == "score"}
        losses = {name: self._overall(own) for (kind, name), own in values.items() if kind in KINDS_OF_LOSS}
        return Evaluation(
            loss=sum(loss for name, loss in losses.items() if name not in self.pretext.adversarial_losses),
            losses=losses,
            scores={
                name: float(own.nanmean())
                for (kind, name), own in values.items()
                if kind == "score" and not bool(own.isnan().all())
            },
            restoration=self._by_source(cast("torch.Tensor", restoration)),
            contrast=float(values["contrast", "contrast"].nanmean()),
        )

    def _judge(self, network: PretextNetwork, number: int) -> dict[tuple[str, str], torch.Tensor]:
        """Losses and scores of one pair by kind and name, (1,) each, on the device."""
        device, pair = self.fabric.device, self.pairs[number]
        moved = RestorationPairs(*(part.to(device) for part in (pair.distorted, pair.target, pair.weight)))
        labels = {name: label.to(device) for name, label in self.patch_labels[number].items()}
        outputs = network(moved.distorted, self.pretext.seen_by_heads(moved))
        kinds = {
            "restoration": self.pretext.restoration_losses(outputs.restored, moved),
            "head": self.pretext.head_losses(network.heads, outputs.heads, labels),
            "score": self.pretext.head_scores(network.heads, outputs.heads, labels),
            "contrast": {"contrast": _contrast(outputs.restored, moved)},
        }
        return {(kind, name): value for kind, named in kinds.items() for name, value in named.items()}

    def _by_source(self, values: torch.Tensor) -> dict[str, float]:
        """Means of (pairs,) values over the pairs of each source."""
        return {
            name: float(values[[number for number, own in enumerate(self.names) if own == name]].mean())
            for name in self.chances
        }

    def _overall(self, values: torch.Tensor) -> float:
        return self.overall(self._by_source(values))

    def _measure_baselines(self, pairs: list[RestorationPairs]) -> Baselines:
        return Baselines(
            identity=self._mean_loss((pair.distorted for pair in pairs), pairs),
            blurred=min(
                self._mean_loss((_blur(pair.distorted, sigma) for pair in pairs), pairs) for sigma in BLUR_SIGMAS
            ),
            constant=self._mean_loss((_channel_means(pair) for pair in pairs), pairs),
        )

    def _mean_loss(self, restored: Iterable[torch.Tensor], pairs: list[RestorationPairs]) -> float:
        """Mean of the losses of restoration; one restored patch at a time is in memory."""
        losses = [self.pretext.restoration_losses(one, pair) for one, pair in zip(restored, pairs, strict=True)]
        return float(np.mean([sum(float(loss) for loss in named.values()) for named in losses]))

    def label(self, number: int) -> str:
        """What was done to a pair, and where it comes from if there are several sources."""
        origin = f"{self.names[number]}: " if len(self.chances) > 1 else ""
        return f"{origin}{self.labels[number]}"

    def _pairs_of(self, name: str) -> list[RestorationPairs]:
        return [pair for number, pair in self.pairs.items() if self.names[number] == name]

    def restore(self, network: PretextNetwork, numbers: list[int]) -> list[torch.Tensor]:
        """Run the network on some pairs (on the first process).

        Returns:
            One (1, channels, *spatial) tensor on the CPU per number.
        """
        network.eval()
        with torch.no_grad(), self.fabric.autocast():
            restored = [
                network(self.pairs[number].distorted.to(self.fabric.device)).restored.float().cpu()
                for number in numbers
            ]
        network.train()
        return restored


def _blur(patches: torch.Tensor, sigma: float) -> torch.Tensor:
    array = patches.numpy()
    return torch.from_numpy(gaussian_filter(array, sigma=(0, 0, *[sigma] * (array.ndim - 2))))


def _channel_means(pair: RestorationPairs) -> torch.Tensor:
    axes = tuple(range(2, pair.target.ndim))
    means = (pair.target * pair.weight).sum(axes, keepdim=True) / pair.weight.sum(axes, keepdim=True).clamp_min(1)
    return means.expand_as(pair.target)


def _contrast(restored: torch.Tensor, pair: RestorationPairs) -> torch.Tensor:
    """Deviation of a restoration over its target's, (1,); NaN where the target is constant: it tells nothing."""
    wanted = _deviation(pair.target, pair)
    # The deviation of a constant is what rounding leaves of its size.
    return torch.where(wanted > 1e-5 * pair.target.abs().amax(), _deviation(restored, pair) / wanted, torch.nan)


def _deviation(images: torch.Tensor, pair: RestorationPairs) -> torch.Tensor:
    """Standard deviations over the voxels that count of (1, channels, *spatial): (1,), mean over channels."""
    counts = (pair.weight > 0).expand_as(images)
    return torch.stack([image[counts[0, 0]].float().std(correction=0) for image in images[0]]).mean()[None]
