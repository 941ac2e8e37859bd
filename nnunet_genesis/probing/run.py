"""The whole probe: sources and checkpoints in, `ProbeResult` out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from nnunet_genesis import __version__
from nnunet_genesis.config import UniversalModelConfig
from nnunet_genesis.errors import SetupError
from nnunet_genesis.groups import read_groups
from nnunet_genesis.pretraining.modalities import find_modalities, is_guessed
from nnunet_genesis.pretraining.seeds import Stream, numpy_generator
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.sources import open_sources
from nnunet_genesis.probing.encoders import open_encoders
from nnunet_genesis.probing.features import compute_features
from nnunet_genesis.probing.folds import divide
from nnunet_genesis.probing.linear_probe import probe
from nnunet_genesis.probing.result import MODALITY, SOURCE, ProbedFeatures, ProbeResult, label_patches
from nnunet_genesis.probing.scans import choose_scans, list_names, list_probe_scans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.source_folders import SourceFolder
    from nnunet_genesis.probing.folds import Split
    from nnunet_genesis.probing.linear_probe import ProbeOutcome

FORMAT_VERSION = 1
_PACKAGES = ("torch", "numpy", "scikit-learn", "nnunetv2", "dynamic_network_architectures")
_DIVISION, _PROBES = 1 << 20, (1 << 20) + 1
"""Numbers of random streams beside those of the sources."""


@dataclass(frozen=True)
class ProbeConfig:
    """What is probed, and how finely; sizes are (ours).

    Attributes:
        scans_per_source: Scans of every source at most.
        patches_per_scan: Patches of every scan.
        seed: Of everything random.
    """

    scans_per_source: int = 32
    patches_per_scan: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            SetupError: With the flag, and the values that can.
        """
        if self.scans_per_source < 4:
            raise SetupError(f"--scans {self.scans_per_source}: must be at least 4", mend="--scans 32")
        if self.patches_per_scan < 1:
            raise SetupError(f"--patches {self.patches_per_scan}: must be at least 1", mend="--patches 8")
        if self.seed < 0:
            raise SetupError(f"--seed {self.seed}: must not be negative", mend="--seed 0")


def run_probe(
    planned: PlannedConfiguration,
    sources_config: PretrainingConfig,
    config: ProbeConfig,
    *,
    files: Sequence[str],
    names: Sequence[str] = (),
    told_modalities: Mapping[str, str] | None = None,
    groups_file: Path | None = None,
    device: str = "cpu",
    workers: int = 1,
    show_progress: bool = False,
) -> ProbeResult:
    """Probe checkpoints on the scans of several sources.

    Args:
        planned: The plans of the scans.
        sources_config: Names the sources, the share of background of patches, and whether they show one channel each.
        config: Sizes and seed.
        files: Checkpoints, or anything else that `load_encoder` reads.
        names: One per file, or none.
        told_modalities: Name of a source to its modality.
        groups_file: Table of scans that belong together, see `read_groups`.
        device: A torch device.
        workers: Threads that read.
        show_progress: Whether to show bars.

    Raises:
        GenesisError: If anything is wrong that can be known before features are computed.
    """
    told = told_modalities or {}
    folders = find_source_folders(planned, sources_config)
    modalities = _find_modalities(folders, told, config, single_channel=sources_config.single_channel)
    encoders = open_encoders(files, names, planned, config.seed, single_channel=sources_config.single_channel)
    sources = open_sources(planned, sources_config, folders, workers=workers, show_progress=show_progress)
    groups = {} if groups_file is None else read_groups(groups_file, list_names(sources))
    listed = list_probe_scans(sources, [one.seen for one in encoders], groups, planned.dataset_name)
    source_names = [source.name for source in sources]
    scans = choose_scans(listed, source_names, config.scans_per_source, config.seed)
    split = divide(
        [scan.source for scan in scans],
        [scan.group for scan in scans],
        [scan.may_test for scan in scans],
        numpy_generator(config.seed, Stream.PROBE, _DIVISION),
    )
    found = compute_features(
        [one.encoder for one in encoders],
        scans,
        planned.patch_size,
        patches_per_scan=config.patches_per_scan,
        max_background_share=sources_config.max_background_share,
        single_channel=sources_config.single_channel,
        seed=config.seed,
        device=device,
        workers=workers,
        show_progress=show_progress,
    )
    count = config.patches_per_scan
    targets = {SOURCE: label_patches(scans, [(name,) for name in source_names], count)}
    by_modality = label_patches(scans, [modalities[name] for name in source_names], count)
    if len({label for own in by_modality for label in own}) > 1:
        targets = {MODALITY: by_modality, **targets}
    groups_of_scans = [scan.group for scan in scans]
    return ProbeResult(
        scans=tuple(scans),
        sources=tuple(source_names),
        modalities=tuple("+".join(modalities[name]) for name in source_names),
        guessed=tuple(folder.name for folder in folders if is_guessed(folder, told) and folder.name in source_names),
        split=split,
        encoders=tuple(
            ProbedFeatures(one, features, _probe_all(features, targets, groups_of_scans, split, config.seed))
            for one, features in zip(encoders, found, strict=True)
        ),
        provenance={
            "format_version": FORMAT_VERSION,
            "dataset": planned.dataset_name,
            "plans": planned.plans_name,
            "configuration": planned.configuration,
            "patch_size": list(planned.patch_size),
            "single_channel": sources_config.single_channel,
            "config": asdict(config),
            "groups": None if groups_file is None else str(groups_file),
            "package_versions": {"nnunet_genesis": __version__, **{name: version(name) for name in _PACKAGES}},
        },
    )


def _find_modalities(
    folders: Sequence[SourceFolder], told: Mapping[str, str], config: ProbeConfig, *, single_channel: bool
) -> dict[str, tuple[str, ...]]:
    """Modality of every source, or of every channel of its scans.

    Raises:
        SetupError: If one is told that is not there, or scans have more channels with names than patches.
    """
    # Guesses are told by the probe itself; without an adversary they are taken.
    settings = UniversalModelConfig(adversary_weight=0.0, modality=tuple(f"{one}={name}" for one, name in told.items()))
    names = [folder.name for folder in folders]
    modalities = find_modalities(names, folders, settings, single_channel=single_channel)
    most = max(map(len, modalities.values()))
    if config.patches_per_scan < most:
        raise SetupError(
            f"--patches {config.patches_per_scan}: scans have {most} channels, and patches show them in turn",
            mend=f"--patches {most}",
        )
    return modalities


def _probe_all(
    features: npt.NDArray[np.float32],
    targets: Mapping[str, Sequence[Sequence[str]]],
    groups: Sequence[str],
    split: Split,
    seed: int,
) -> dict[str, ProbeOutcome]:
    """Every encoder gets the same inner folds and the same bootstrap samples."""
    return {
        name: probe(features, labels, groups, split, numpy_generator(seed, Stream.PROBE, _PROBES))
        for name, labels in targets.items()
    }
