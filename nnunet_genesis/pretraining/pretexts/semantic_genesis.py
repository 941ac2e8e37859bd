"""Semantic Genesis (Haghighi et al., MICCAI 2020, arXiv 2007.06959): which anatomical place is this, and what is it?"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from nnunet_genesis.pretraining.discovery.crops import held_out_crops, training_crops
from nnunet_genesis.pretraining.distortions.elastic import ElasticDeformation, apply_elastic, sample_elastic
from nnunet_genesis.pretraining.distortions.intensity import sample_intensity_curves
from nnunet_genesis.pretraining.distortions.painting import sample_painting
from nnunet_genesis.pretraining.distortions.shuffling import longest_window, sample_shuffling
from nnunet_genesis.pretraining.pretexts.base import Pretext, RestorationPairs, weight_inside
from nnunet_genesis.pretraining.pretexts.heads import ClassificationHead
from nnunet_genesis.pretraining.pretexts.local_distortions import LocalDistortions, apply_local_distortions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from nnunet_genesis.config import PretrainingConfig, SemanticGenesisConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.data import CasePatches, Labels
    from nnunet_genesis.pretraining.discovery.result import Discovery
    from nnunet_genesis.pretraining.intensities import IntensityRange
    from nnunet_genesis.pretraining.sources import Source

DISTORTIONS = ("shuffling", "non-linear intensity", "in-painting", "out-painting")
"""Exactly one of them happens to a crop, each to a quarter of them (published)."""
MAX_WINDOW_VOXELS = 6
"""Longest side of a shuffling window, besides a tenth of the axis: a tenth of the published sides of 64."""
VALIDATION_CROPS_PER_CLASS = 4
"""Held-out crops per class that accuracy is measured on, on average (ours)."""
HEAD = "class"
DISCOVERED = "discovered"
"""What a checkpoint calls the digest of its discovery."""


@dataclass(frozen=True)
class SemanticGenesisParameters(LocalDistortions):
    """The sampled distortions of one batch; the elastic deformation comes first."""

    elastic: ElasticDeformation


class SemanticGenesis(Pretext[SemanticGenesisParameters]):
    """Tell which class of places a distorted crop is of, and restore it.

    Every crop is deformed elastically, and one of four distortions happens to it; the target is the crop as it was.
    Nothing is mirrored: left and right are different places. The published losses are a mean squared error of
    intensities in [0, 1] and 0.01 of the cross-entropy. In nnU-Net's normalised units that error is larger by
    (range / sigma) ** 2, and the weight of the cross-entropy grows with it: the balance is the published one (ours).

    Args:
        config: Settings.
        intensities: Per channel range of the data.
        discovery: The classes, see `discover`.
    """

    citations = (
        "Haghighi et al., Learning Semantics-enriched Representation via Self-discovery, Self-classification, and"
        " Self-restoration, MICCAI 2020, arXiv 2007.06959",
        "Haghighi et al., Transferable Visual Words, IEEE TMI 2021, arXiv 2102.10680",
    )

    def __init__(self, config: SemanticGenesisConfig, intensities: IntensityRange, discovery: Discovery) -> None:
        self.config, self.intensities, self.discovery = config, intensities, discovery
        self.patch_size = discovery.crop_size
        self.num_classes = discovery.num_classes
        widths = torch.tensor(intensities.width, dtype=torch.float64)
        self.classification_weight = config.classification_weight * float(widths.square().mean())

    def sample(self, batch_size: int, generator: torch.Generator) -> SemanticGenesisParameters:
        """Draw the parameters of one batch."""
        chosen = torch.randint(len(DISTORTIONS), (batch_size,), generator=generator)
        return self._sample(chosen, generator)

    def _sample(self, chosen: torch.Tensor, generator: torch.Generator) -> SemanticGenesisParameters:
        """Draw parameters where it is settled which of `DISTORTIONS` (batch,) happens to a crop."""
        batch_size = len(chosen)
        shuffling = sample_shuffling(
            batch_size,
            self.patch_size,
            generator,
            max_window_voxels=MAX_WINDOW_VOXELS,
            coverage=self._shuffling_coverage(),
        )
        intensity = sample_intensity_curves(batch_size, len(self.intensities.low), generator)
        inside, outside = (
            sample_painting(
                batch_size,
                self.patch_size,
                generator,
                outside_probability=probability,
                first_probability=1.0,
                further_probability=0.0,
            )
            for probability in (0.0, 1.0)
        )
        out_painted = chosen == DISTORTIONS.index("out-painting")
        boxes = out_painted[:, None, None]
        return SemanticGenesisParameters(
            shuffling=replace(shuffling, applied=chosen == DISTORTIONS.index("shuffling")),
            intensity=replace(intensity, applied=chosen == DISTORTIONS.index("non-linear intensity")),
            painting=replace(
                inside,
                applied=chosen >= DISTORTIONS.index("in-painting"),
                outside=out_painted,
                starts=torch.where(boxes, outside.starts, inside.starts),
                sizes=torch.where(boxes, outside.sizes, inside.sizes),
            ),
            elastic=sample_elastic(
                batch_size, self.patch_size, generator, alpha=self.config.elastic_alpha, sigma=self.config.elastic_sigma
            ),
        )

    def _shuffling_coverage(self) -> float:
        """Share of a crop that the published number of windows covers."""
        mean_window, crop = 1.0, 1
        for longest, side in zip(longest_window(self.patch_size, MAX_WINDOW_VOXELS), self.patch_size, strict=True):
            mean_window *= (1 + longest) / 2
            crop *= side
        return min(1.0, self.config.shuffling_windows * mean_window / crop)

    def make_pairs(
        self,
        patches: torch.Tensor,
        inside: torch.Tensor,
        parameters: SemanticGenesisParameters,
        *,
        random_device: torch.device | None = None,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Turn clean crops into pairs, see `Pretext.make_pairs`."""
        target = torch.empty_like(patches) if out is None else out.target
        target.copy_(patches)
        distorted = torch.empty_like(patches) if out is None else out.distorted
        deformed = apply_elastic(patches, parameters.elastic, inside)
        apply_local_distortions(deformed, parameters, self.intensities, random_device=random_device, out=distorted)
        return RestorationPairs(distorted, target, weight_inside(inside, self.patch_size, patches.device))

    def describe(self, parameters: SemanticGenesisParameters) -> list[str]:
        """Name the distortions of every sample, e.g. "deformed, in-painted"."""
        deformed = parameters.elastic.applied.tolist()
        return [
            ", ".join([*(["deformed"] if applied else []), *parameters.describe(sample)])
            for sample, applied in enumerate(deformed)
        ]

    def explain(self, parameters: SemanticGenesisParameters, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion."""
        return [parameters.elastic.explain(sample), *parameters.explain(sample)]

    def separate(self) -> dict[str, SemanticGenesis]:
        """The deformation with each of the other distortions, by their names, for pictures."""
        return {f"elastic deformation and {name}": _WithOne(self, number) for number, name in enumerate(DISTORTIONS)}

    def build_heads(self, planned: PlannedConfiguration) -> nn.Module:
        """One head, which says which class a crop is of."""
        return ClassificationHead(HEAD, planned.deepest_features(), self.num_classes, len(planned.patch_size))

    def head_losses(
        self, heads: nn.Module | None, outputs: Mapping[str, torch.Tensor], labels: Labels
    ) -> dict[str, torch.Tensor]:
        """The weighted cross-entropy, (batch,)."""
        del heads
        entropy = cross_entropy(outputs[HEAD].float(), labels["class"], reduction="none")
        return {"classification": self.classification_weight * entropy}

    def head_scores(
        self, heads: nn.Module | None, outputs: Mapping[str, torch.Tensor], labels: Labels
    ) -> dict[str, torch.Tensor]:
        """Whether the class is the right one, (batch,)."""
        del heads
        return {"accuracy": (outputs[HEAD].argmax(1) == labels["class"]).float()}

    @property
    def chances(self) -> dict[str, float]:
        """What guessing one of the classes would score."""
        return {"accuracy": 1 / self.num_classes}

    @property
    def minimum_validation_patches(self) -> int:
        """Some crops per class."""
        return VALIDATION_CROPS_PER_CLASS * self.num_classes

    def loss_weights(self, progress: float) -> dict[str, float]:
        """Classification alone in the first stage, if there is one."""
        return {"restoration": 0.0} if progress < self.config.classification_first else {}

    def training_patches(self, sources: Sequence[Source], config: PretrainingConfig) -> CasePatches:
        """Crops of the classes."""
        return training_crops(sources, self.discovery, config.seed)

    def validation_patches(self, source: Source, config: PretrainingConfig) -> CasePatches | None:
        """Crops of the held-out scans of one source; None where no class has any of them."""
        if source.name not in self.discovery.held_out_sources():
            return None
        return held_out_crops(source, self.discovery, config.seed)

    def summary(self, spacing: tuple[float, ...]) -> list[str]:
        """How many classes there are, and what their losses weigh."""
        del spacing
        return [
            f"{self.num_classes} classes (chance: {1 / self.num_classes:.3f})",
            f"weight of the cross-entropy beside the error of restoration: {self.classification_weight:.3g}",
        ]

    def settings(self) -> dict[str, Any]:
        """Size and number of what was discovered, and the weight of the cross-entropy."""
        return {
            **asdict(self.config),
            "num_classes_found": self.num_classes,
            "crop_size": list(self.patch_size),
            "cross_entropy_weight": self.classification_weight,
            DISCOVERED: self.discovery.digest(),
        }


class _WithOne(SemanticGenesis):
    """Semantic Genesis with the same distortion for every crop."""

    def __init__(self, whole: SemanticGenesis, number: int) -> None:
        super().__init__(whole.config, whole.intensities, whole.discovery)
        self.number = number

    def sample(self, batch_size: int, generator: torch.Generator) -> SemanticGenesisParameters:
        """Draw the parameters of one batch."""
        return self._sample(torch.full((batch_size,), self.number), generator)
