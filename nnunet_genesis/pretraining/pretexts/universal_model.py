"""Universal Model (Zhang et al., arXiv 2010.06107): restoration, the scale of a crop, and what modalities share."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nnunet_genesis.pretraining.pretexts.base import Pretext
from nnunet_genesis.pretraining.pretexts.modality_parts import ModalityAdversary, ModalityDiscriminant, ModalityPart
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis, ModelsGenesisParameters
from nnunet_genesis.pretraining.pretexts.parts import Part, PartHeads, ScaleClassifier
from nnunet_genesis.pretraining.scales.carrying import SCALES
from nnunet_genesis.pretraining.scales.patches import SHARP_SHARE, ScaledPatches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn

    from nnunet_genesis.config import PretrainingConfig, UniversalModelConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.data import CasePatches, Labels
    from nnunet_genesis.pretraining.pretexts.base import RestorationPairs
    from nnunet_genesis.pretraining.sources import Source

LOGGER = logging.getLogger("nnunet_genesis")


class UniversalModel(Pretext[ModelsGenesisParameters]):
    """Models Genesis' restoration on crops of several scales, a classifier of scales, an adversary of modalities.

    The abstract names the parts; sizes and weights are ours. A part that is switched off has no head; without scales,
    patches are those of Models Genesis.

    Args:
        restoration: Makes the pairs and judges restorations.
        config: Settings of the other parts.
        modalities: Modality of every source, or of every channel of its scans, in the order of the sources. The
            adversary needs two.
    """

    citations = (
        "Zhang et al., Universal Model for 3D Medical Image Analysis, arXiv 2010.06107",
        *ModelsGenesis.citations,
    )

    def __init__(
        self, restoration: ModelsGenesis, config: UniversalModelConfig, modalities: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.restoration, self.config, self.modalities = (
            restoration,
            config,
            dict(modalities),
        )
        self.patch_size = restoration.patch_size
        self.sharp_share = SHARP_SHARE
        self.heads_see_targets = True
        self.adversarial_losses = frozenset({ModalityPart.name})
        self.parts: list[Part] = []
        if config.scale_weight:
            self.parts.append(ScaleClassifier(SCALES, config.scale_weight))
        if config.adversary_strength and len({name for own in modalities.values() for name in own}) > 1:
            self.parts.append(_modality_part(list(modalities.values()), config))

    def sample(self, batch_size: int, generator: torch.Generator) -> ModelsGenesisParameters:
        """Draw the parameters of one batch."""
        return self.restoration.sample(batch_size, generator)

    def make_pairs(
        self,
        patches: torch.Tensor,
        inside: torch.Tensor,
        parameters: ModelsGenesisParameters,
        *,
        random_device: torch.device | None = None,
        out: RestorationPairs | None = None,
    ) -> RestorationPairs:
        """Turn clean patches into pairs, see `Pretext.make_pairs`."""
        return self.restoration.make_pairs(patches, inside, parameters, random_device=random_device, out=out)

    def describe(self, parameters: ModelsGenesisParameters) -> list[str]:
        """Name the distortions of every sample."""
        return self.restoration.describe(parameters)

    def explain(self, parameters: ModelsGenesisParameters, sample: int) -> list[str]:
        """All that was drawn for one sample, a line per distortion that happened."""
        return self.restoration.explain(parameters, sample)

    def separate(self) -> Mapping[str, Pretext[ModelsGenesisParameters]]:
        """Each distortion alone, by its name, for pictures."""
        return self.restoration.separate()

    def restoration_losses(self, restored: torch.Tensor, pairs: RestorationPairs) -> Mapping[str, torch.Tensor]:
        """The restoration error, (batch,)."""
        return self.restoration.restoration_losses(restored, pairs)

    def build_heads(self, planned: PlannedConfiguration) -> nn.Module | None:
        """The heads of the parts that are on."""
        return PartHeads(self.parts, planned.deepest_features()) if self.parts else None

    def enter_step(self, heads: nn.Module | None, step: int, progress: float) -> None:
        """Let every part prepare its head."""
        for part, head in self._with_heads(heads):
            part.enter_step(head, step, progress)

    def head_losses(
        self, heads: nn.Module | None, outputs: Mapping[str, torch.Tensor], labels: Labels
    ) -> dict[str, torch.Tensor]:
        """The losses of all parts, (batch,) each."""
        return {
            name: loss
            for part, head in self._with_heads(heads)
            for name, loss in part.losses(head, outputs[part.name], labels).items()
        }

    def head_scores(
        self, heads: nn.Module | None, outputs: Mapping[str, torch.Tensor], labels: Labels
    ) -> dict[str, torch.Tensor]:
        """The accuracies of all parts, (batch,) each."""
        return {
            name: score
            for part, head in self._with_heads(heads)
            for name, score in part.scores(head, outputs[part.name], labels).items()
        }

    def _with_heads(self, heads: nn.Module | None) -> list[tuple[Part, nn.Module]]:
        return [(part, heads.heads[part.name]) for part in self.parts] if isinstance(heads, PartHeads) else []

    @property
    def chances(self) -> dict[str, float]:
        """What guessing would score."""
        return {part.score_name: 1 / part.num_classes for part in self.parts}

    def chances_among(self, labels: Labels) -> dict[str, float]:
        """What naming the commonest class of these patches every time would score."""
        return {part.score_name: part.commonest(labels) for part in self.parts}

    @property
    def minimum_validation_patches(self) -> int:
        """For an interval of a tenth to both sides, a seventh where half of the patches have no scale."""
        return 96 if self.parts else 0

    def training_patches(self, sources: Sequence[Source], config: PretrainingConfig) -> CasePatches:
        """Crops of several scales, or patches of one; as sharp as they are where no scan can carry all scales."""
        if not self.config.scale_weight:
            return super().training_patches(sources, config)
        patches = ScaledPatches.for_training(sources, self.patch_size, config)
        if not patches.labelled_share:
            LOGGER.warning(
                "no scan can carry crops of %g patches along every axis: the scale is not learned, and no patch is"
                " blurred to hide it",
                max(SCALES),
            )
            self.sharp_share = patches.sharp_share = 1.0
        return patches

    def validation_patches(self, source: Source, config: PretrainingConfig) -> CasePatches | None:
        """The same of the held-out cases of one source, once `training_patches` has seen what the run learns from."""
        if not self.config.scale_weight:
            return super().validation_patches(source, config)
        patches = ScaledPatches.for_validation(source, self.patch_size, config)
        patches.sharp_share = self.sharp_share
        return patches

    def summary(self, spacing: tuple[float, ...]) -> list[str]:
        """The parts, and the modality of every source."""
        parts = ", ".join(["restoration", *(part.name for part in self.parts)])
        told = ", ".join(f"{source}: {' or '.join(own)}" for source, own in self.modalities.items())
        return [*self.restoration.summary(spacing), f"parts: {parts}", f"modalities: {told}"]

    def settings(self) -> dict[str, Any]:
        """Settings of all parts, and which are on."""
        return {
            **self.restoration.settings(),
            **asdict(self.config),
            "adversary_weight": self.config.adversary_strength,
            "modalities": {source: "+".join(own) for source, own in self.modalities.items()},
            "parts": ["restoration", *(part.name for part in self.parts)],
        }


def _modality_part(modalities: Sequence[tuple[str, ...]], config: UniversalModelConfig) -> ModalityPart:
    if config.adversary == "discriminant":
        return ModalityDiscriminant(modalities, config.adversary_strength)
    return ModalityAdversary(modalities, config.adversary_strength, alternating=config.alternating)
