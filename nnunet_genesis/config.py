"""The whole configuration of a pretraining run: frozen, validated, and stored in every checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nnunet_genesis.config_reading import settings_from
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

PRETEXTS = {
    "models-genesis": "restore patches from shuffling, non-linear intensity and painting (arXiv 1908.06912)",
    "universal-model": "restore patches of several modalities and scales, tell the scale, hide the modality"
    " (arXiv 2010.06107)",
    "semantic-genesis": "tell anatomical places apart and restore them (arXiv 2007.06959)",
    "masked": "restore hidden blocks (arXiv 2410.23132)",
    "masked-genesis": "restore hidden blocks, and visible ones from distortions",
}
DEFAULT_PRETEXT = "models-genesis"
OPTIMIZERS = ("adamw", "sgd")
ADVERSARIES = {"discriminant": 1.0, "classifier": 0.1}
"""What hides the modality in the Universal Model, and how strongly where nothing is said (ours)."""
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
SOURCE_WEIGHTS = {
    "sqrt": "by the square root of the number of cases",
    "uniform": "every source alike",
    "proportional": "every case alike",
    "modality": "every modality alike, its sources by the square root of their number of cases",
}
DEFAULT_LEARNING_RATES = {"adamw": 1e-3, "sgd": 1e-2}


@dataclass(frozen=True)
class ShufflingConfig:
    """How patches are shuffled, in Models Genesis and where it is borrowed; published values unless marked (ours).

    Attributes:
        shuffling_probability: Chance that a patch is shuffled.
        shuffling_max_window_voxels: Longest side of a window, besides a tenth of the axis (ours).
        shuffling_coverage: Share of the voxels in permuted windows: the published coverage at 64 x 64 x 32 (ours).
    """

    shuffling_probability: float = 0.5
    shuffling_max_window_voxels: int = 6
    shuffling_coverage: float = 0.85

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag or setting, and the values that can.
        """
        if self.shuffling_max_window_voxels < 1:
            raise SetupError(
                f"--shuffling-window {self.shuffling_max_window_voxels}: must be at least 1",
                mend="--shuffling-window 6",
            )
        _check_probabilities(self, ("shuffling_probability", "shuffling_coverage"))


@dataclass(frozen=True)
class ModelsGenesisConfig(ShufflingConfig):
    """Probabilities and sizes of Models Genesis, besides those of shuffling; published values.

    Attributes:
        mirror_probability: Chance of each further flip, at most three.
        intensity_probability: Chance of non-linear intensity.
        painting_probability: Chance of in-painting or out-painting.
        outpainting_probability: Chance that painting is out-painting.
    """

    mirror_probability: float = 0.4
    intensity_probability: float = 0.9
    painting_probability: float = 0.9
    outpainting_probability: float = 0.8

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag or setting, and the values that can.
        """
        super().__post_init__()
        names = ("mirror_probability", "intensity_probability", "painting_probability", "outpainting_probability")
        _check_probabilities(self, names)


@dataclass(frozen=True)
class DiscoveryConfig:
    """How self-discovery finds its classes (Semantic Genesis); published values unless marked (ours).

    Attributes:
        num_classes: Classes at most; at most half the number of training scans (ours).
        neighbours: Training scans of a class at most, its reference among them; at most a third of all (ours).
        held_out_neighbours: Held-out scans of a class at most; at most a third of all, or three (ours).
        features: File of a pretrained encoder whose features tell which scans are alike (path or hf:// address), or
            None for an auto-encoder that is trained on the scans.
        min_distance: Distance between the places of two classes at least, in sides of a crop (ours).
        max_background_share: Places with more background than this are left out (ours).
    """

    num_classes: int = 44
    neighbours: int = 200
    held_out_neighbours: int = 30
    features: str | None = None
    min_distance: float = 0.5
    max_background_share: float = 0.75

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag or setting, and the values that can.
        """
        if self.num_classes < 2:
            raise SetupError(f"--classes {self.num_classes}: must be at least 2", mend="--classes 44")
        for name, lowest in (("neighbours", 2), ("held_out_neighbours", 1)):
            if getattr(self, name) < lowest:
                raise SetupError(f"{name} = {getattr(self, name)}: must be at least {lowest}")
        if not self.min_distance >= 0:
            raise SetupError(f"min_distance = {self.min_distance}: must not be negative")
        if not 0 <= self.max_background_share <= 1:
            raise SetupError(f"max_background_share = {self.max_background_share}: must be between 0 and 1")


@dataclass(frozen=True)
class SemanticGenesisConfig:
    """Settings of Semantic Genesis; published values unless marked (ours).

    Attributes:
        discovery: How classes are found.
        classification_weight: Weight of the cross-entropy beside the error of restoration with intensities in [0, 1].
        classification_first: Share of the run with classification alone, at its beginning (published: optional).
        elastic_alpha: Factor of the displacements.
        elastic_sigma: Width of the Gaussian that smooths them, in voxels.
        shuffling_windows: Windows that are shuffled.
    """

    discovery: DiscoveryConfig = field(default_factory=DiscoveryConfig)
    classification_weight: float = 0.01
    classification_first: float = 0.0
    elastic_alpha: float = 991.0
    elastic_sigma: float = 8.0
    shuffling_windows: int = 5

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag or setting, and the values that can.
        """
        if not 0 <= self.classification_weight < math.inf:
            raise SetupError(
                f"--classification-weight {self.classification_weight}: must be finite and not negative",
                mend="--classification-weight 0.01",
            )
        if not 0 <= self.classification_first < 1:
            raise SetupError(
                f"--classification-first {self.classification_first}: must be at least 0 and below 1",
                mend="--classification-first 0.1",
            )
        if not self.elastic_alpha >= 0 or not self.elastic_sigma > 0 or self.shuffling_windows < 0:
            raise SetupError(
                f"elastic_alpha = {self.elastic_alpha}, elastic_sigma = {self.elastic_sigma}, shuffling_windows ="
                f" {self.shuffling_windows}: must not be negative, and the width must be positive"
            )


@dataclass(frozen=True)
class MaskedConfig:
    """Shares and probabilities of masked restoration; published values unless marked (ours).

    Attributes:
        mask_ratio: Smallest and largest share of the blocks that is hidden; drawn between them for every patch (ours).
        mask_block: Voxels of a block per axis, or one number for all; none for a cell of the network's deepest stage.
        mask_probability: Chance that a patch is masked; below 1 only for pictures of what else is done.
        mirror_probability: Chance of each further flip, at most three, as in Models Genesis.
    """

    mask_ratio: tuple[float, float] = (0.6, 0.9)
    mask_block: tuple[int, ...] = ()
    mask_probability: float = 1.0
    mirror_probability: float = 0.4

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag or setting, and the values that can.
        """
        ratio = " ".join(f"{share:g}" for share in self.mask_ratio)
        if not 0 < self.mask_ratio[0] <= self.mask_ratio[1] < 1:
            raise SetupError(
                f"--mask-ratio {ratio}: must be between 0 and 1, the smaller share first",
                mend="--mask-ratio 0.6 0.9",
            )
        if any(edge < 1 for edge in self.mask_block):
            raise SetupError(
                f"--mask-block {' '.join(map(str, self.mask_block))}: must be at least 1", mend="--mask-block 16"
            )
        _check_probabilities(self, ("mask_probability", "mirror_probability"))


@dataclass(frozen=True)
class MaskedGenesisConfig(MaskedConfig, ShufflingConfig):
    """Shares, probabilities and sizes of masked Genesis: (ours), all that is not said of its bases.

    Attributes:
        mask_ratio: As in `MaskedConfig`.
        visible_weight: Weight of the error on visible voxels.
        intensity_probability: Chance of non-linear intensity (ours: at 0.9, as published, too little is learned).
        low_resolution_probability: Chance of low resolution.
        low_resolution_max_factor: Largest factor by which voxels grow.
        noise_probability: Chance of noise.
        noise_max_deviation: Largest standard deviation of the noise, as a share of the channel's range.
    """

    mask_ratio: tuple[float, float] = (0.6, 0.75)
    visible_weight: float = 0.15
    intensity_probability: float = 0.4
    low_resolution_probability: float = 0.25
    low_resolution_max_factor: float = 3.0
    noise_probability: float = 0.5
    noise_max_deviation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag or setting, and the values that can.
        """
        MaskedConfig.__post_init__(self)
        ShufflingConfig.__post_init__(self)
        if not 0 <= self.visible_weight < 1:
            raise SetupError(
                f"--visible-weight {self.visible_weight:g}: must be at least 0 and below the 1 of hidden voxels",
                mend="--visible-weight 0.15",
            )
        if self.low_resolution_max_factor < 1:
            raise SetupError(f"low_resolution_max_factor = {self.low_resolution_max_factor}: must be at least 1")
        names = ("intensity_probability", "low_resolution_probability", "noise_probability", "noise_max_deviation")
        _check_probabilities(self, names)


@dataclass(frozen=True)
class UniversalModelConfig:
    """Settings of the Universal Model's parts, all (ours): the published sizes and weights are unknown.

    Attributes:
        scale_weight: Weight of the classifier of scales beside the error of restoration; 0 leaves it out.
        adversary: One of `ADVERSARIES`: Fisher's discriminant, or a network whose gradient is reversed.
        adversary_weight: How strongly the encoder hides modalities at the end of the run; 0 leaves it out, None is the
            strength in `ADVERSARIES`.
        alternating: Whether the network that classifies modalities and the encoder learn in turns.
        modality: ``SOURCE=NAME``, where the channels' names do not tell.
    """

    scale_weight: float = 0.1
    adversary: str = "discriminant"
    adversary_weight: float | None = None
    alternating: bool = False
    modality: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag, and the values that can.
        """
        _check_choice("--adversary", self.adversary, tuple(ADVERSARIES))
        for flag, weight in (("--scale-weight", self.scale_weight), ("--adversary-weight", self.adversary_strength)):
            if not 0 <= weight < math.inf:
                raise SetupError(f"{flag} {weight}: must be a number from 0 on", mend=f"{flag} 0.1")
        if self.alternating and self.adversary != "classifier":
            raise SetupError(
                f"--alternating: --adversary {self.adversary} has nothing to train in turns",
                mend="--adversary classifier --alternating",
            )

    @property
    def adversary_strength(self) -> float:
        """How strongly the encoder hides modalities at the end of the run."""
        return ADVERSARIES[self.adversary] if self.adversary_weight is None else self.adversary_weight


@dataclass(frozen=True)
class PretrainingConfig:
    """What a run does, apart from where its data and output lie.

    Attributes:
        pretext: One of `PRETEXTS`.
        epochs: Number of epochs (nnU-Net: 1000).
        iterations_per_epoch: Steps per epoch (nnU-Net: 250).
        batch_size: Patches per step over all devices.
        optimizer: One of `OPTIMIZERS`.
        learning_rate: Peak; decays as (1 - step / steps) ** 0.9, nnU-Net's poly rule taken per step.
        weight_decay: nnU-Net's value.
        gradient_clip: Largest gradient norm, nnU-Net's value.
        precision: One of `PRECISIONS`; "auto" is bf16-mixed or 16-mixed on CUDA, else 32-true.
        seed: Decides the initial weights, the split, the patches and the distortions.
        val_fraction: Share of the cases that is held out for validation pairs, at least one case.
        val_pairs: Number of fixed validation pairs.
        exclude_fold: Fold whose validation cases, and scans equal to them, never enter pretraining, or None.
        exclude: Further cases that never enter: CASE of the dataset, POOL/CASE, or ``scan:`` and a key of raw voxels.
        labelled: Whether the dataset's own cases are learned from.
        pools: Names of pools of unlabeled scans.
        datasets: Names of further datasets, preprocessed by the same rules.
        source_weights: How often each source is drawn from, one of `SOURCE_WEIGHTS` (ours).
        single_channel: Whether the network has one input channel, and every patch draws one of its scan's.
        max_background_share: Places with more background than this are drawn again (ours).
        models_genesis: Settings of Models Genesis.
        semantic_genesis: Settings of Semantic Genesis.
        universal_model: Settings of the Universal Model; its restoration has those of Models Genesis.
        masked: Settings of masked restoration.
        masked_genesis: Settings of masked Genesis.
    """

    pretext: str
    batch_size: int
    epochs: int = 1000
    iterations_per_epoch: int = 250
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 3e-5
    gradient_clip: float = 12.0
    precision: str = "auto"
    seed: int = 0
    val_fraction: float = 0.1
    val_pairs: int = 32
    exclude_fold: int | None = None
    exclude: tuple[str, ...] = ()
    labelled: bool = True
    pools: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    source_weights: str = "sqrt"
    single_channel: bool = False
    max_background_share: float = 0.75
    models_genesis: ModelsGenesisConfig = field(default_factory=ModelsGenesisConfig)
    semantic_genesis: SemanticGenesisConfig = field(default_factory=SemanticGenesisConfig)
    universal_model: UniversalModelConfig = field(default_factory=UniversalModelConfig)
    masked: MaskedConfig = field(default_factory=MaskedConfig)
    masked_genesis: MaskedGenesisConfig = field(default_factory=MaskedGenesisConfig)

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag, the value and the values that can.
        """
        _check_choice("--pretext", self.pretext, tuple(PRETEXTS))
        _check_choice("--optimizer", self.optimizer, OPTIMIZERS)
        _check_choice("--precision", self.precision, PRECISIONS)
        _check_choice("--source-weights", self.source_weights, tuple(SOURCE_WEIGHTS))
        for flag, value in (
            ("--epochs", self.epochs),
            ("--iterations-per-epoch", self.iterations_per_epoch),
            ("--batch-size", self.batch_size),
        ):
            if value < 1:
                raise SetupError(f"{flag} {value}: must be at least 1", mend=f"{flag} with a positive number")
        if not 0 < self.learning_rate < math.inf:
            raise SetupError(f"--lr {self.learning_rate}: must be positive and finite", mend="--lr 1e-3")
        if not 0 <= self.seed < 1 << 32:
            raise SetupError(f"--seed {self.seed}: must be in [0, 2**32)", mend="--seed 0")
        if not 0 < self.val_fraction < 1:
            raise SetupError(f"--val-fraction {self.val_fraction}: must be between 0 and 1", mend="--val-fraction 0.1")
        if not 0 <= self.weight_decay < math.inf or not 0 < self.gradient_clip < math.inf or self.val_pairs < 1:
            raise SetupError(
                f"weight_decay = {self.weight_decay}, gradient_clip = {self.gradient_clip}, val_pairs ="
                f" {self.val_pairs}: must be finite and positive (the decay may be 0)"
            )
        _check_probabilities(self, ("max_background_share",))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PretrainingConfig:
        """Read what `as_dict` gave; settings that a file of an earlier version does not have are the defaults.

        Raises:
            SetupError: If there are settings of a later version, or values that are none.
        """
        return settings_from(cls, values)


def _check_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SetupError(f"{flag} {value}: unknown", mend=f"{flag} with one of: {', '.join(choices)}")


def _check_probabilities(config: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise SetupError(f"{name} = {value}: must be between 0 and 1")
