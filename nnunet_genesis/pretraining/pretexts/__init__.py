"""Pretexts, one per file: each brings its patches, its heads and its named losses; all else is shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.intensities import IntensityRange
    from nnunet_genesis.pretraining.pretexts.base import Pretext
    from nnunet_genesis.pretraining.source_folders import SourceFolder
    from nnunet_genesis.pretraining.sources import Source


def check_pretext(config: PretrainingConfig, planned: PlannedConfiguration) -> None:
    """Refuse settings that do not fit the plans, before anything is read or written.

    Raises:
        SetupError: If the pretext cannot work with these plans.
    """
    settings = {"masked": config.masked, "masked-genesis": config.masked_genesis}
    if config.pretext in settings:
        from nnunet_genesis.pretraining.pretexts.masked import find_block

        find_block(settings[config.pretext], planned)
    if config.pretext == "semantic-genesis":
        if config.single_channel:
            raise SetupError(
                "--single-channel: places are discovered in whole scans, with all of their channels",
                mend="--pretext models-genesis, universal-model, masked or masked-genesis",
            )
        planned.total_strides()
        planned.deepest_features()


def prepare_pretext(
    config: PretrainingConfig,
    planned: PlannedConfiguration,
    sources: Sequence[Source],
    *,
    folders: Sequence[SourceFolder],
    folder: Path,
    workers: int,
    earlier: Mapping[str, Any] | None = None,
) -> Any:
    """Do what a pretext has to do once before its run, in one process; the result goes to `build_pretext` in all.

    Args:
        config: The run's configuration.
        planned: The dataset's plans.
        sources: The cases of the run.
        folders: Where the sources lie.
        folder: Output folder, where results are kept for the next time.
        workers: Threads that read.
        earlier: The ``genesis`` entry of the run that is continued.

    Raises:
        GenesisError: If the pretext cannot work on these cases.
    """
    if config.pretext == "universal-model":
        from nnunet_genesis.pretraining.modalities import find_modalities

        return find_modalities(
            [source.name for source in sources],
            folders,
            config.universal_model,
            single_channel=config.single_channel,
        )
    if config.pretext != "semantic-genesis":
        return None
    from nnunet_genesis.pretraining.discovery.discover import discover
    from nnunet_genesis.pretraining.discovery.storage import find_discovery
    from nnunet_genesis.pretraining.pretexts.semantic_genesis import DISCOVERED

    if earlier is not None:
        # Other versions of packages, or another number of threads, might find other classes.
        kept = find_discovery(folder, earlier["pretext_settings"][DISCOVERED])
        if kept is not None:
            return kept
    return discover(
        planned,
        config.semantic_genesis.discovery,
        sources,
        seed=config.seed,
        folder=folder,
        workers=workers,
        show_progress=True,
    )


def build_pretext(
    config: PretrainingConfig, planned: PlannedConfiguration, intensities: IntensityRange, prepared: Any = None
) -> Pretext[Any]:
    """Make the pretext that a configuration names.

    Args:
        config: The run's configuration.
        planned: The dataset's plans.
        intensities: Per channel range of the data.
        prepared: What `prepare_pretext` returned.
    """
    if config.pretext == "semantic-genesis":
        from nnunet_genesis.pretraining.pretexts.semantic_genesis import SemanticGenesis

        return SemanticGenesis(config.semantic_genesis, intensities, prepared)
    if config.pretext == "universal-model":
        from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
        from nnunet_genesis.pretraining.pretexts.universal_model import UniversalModel

        restoration = ModelsGenesis(config.models_genesis, planned.patch_size, intensities)
        return UniversalModel(restoration, config.universal_model, prepared)
    if config.pretext == "masked":
        from nnunet_genesis.pretraining.pretexts.masked import Masked, find_block

        return Masked(config.masked, planned.patch_size, intensities, find_block(config.masked, planned))
    if config.pretext == "masked-genesis":
        from nnunet_genesis.pretraining.pretexts.masked import find_block
        from nnunet_genesis.pretraining.pretexts.masked_genesis import MaskedGenesis

        block = find_block(config.masked_genesis, planned)
        return MaskedGenesis(config.masked_genesis, planned.patch_size, intensities, block)
    from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis

    return ModelsGenesis(config.models_genesis, planned.patch_size, intensities)
