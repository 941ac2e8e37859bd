"""Which modality a source has: told by the user, else the names of its channels, else its own name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.unlabeled.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.config import UniversalModelConfig
    from nnunet_genesis.pretraining.source_folders import SourceFolder

LOGGER = logging.getLogger("nnunet_genesis")


def parse_modalities(texts: Sequence[str]) -> dict[str, str]:
    """Read ``SOURCE=NAME`` of the command line.

    Raises:
        SetupError: If a text has another form, or a source is told twice.
    """
    told: dict[str, str] = {}
    for text in texts:
        source, equals, name = (part.strip() for part in text.partition("="))
        if not (source and equals and name):
            raise SetupError(f"--modality {text}: needed is SOURCE=NAME", mend="--modality chest_ct=CT")
        if told.setdefault(source, name) != name:
            raise SetupError(
                f"--modality: {source} is told twice, {told[source]} and {name}", mend="--modality once per source"
            )
    return told


def modality_of(folder: SourceFolder, told: Mapping[str, str]) -> str:
    """Name the modality of one source.

    Args:
        folder: The source.
        told: Name of a source to its modality, where the user told it.

    Returns:
        What was told; else, for cases that nnU-Net preprocessed, the names of the dataset's channels joined by "+";
        else, for a pool, the pool's own name (see `is_guessed`).
    """
    if folder.name in told:
        return told[folder.name]
    if isinstance(folder.location, Pool):
        return folder.name
    return "+".join(folder.location.channel_names)


def is_guessed(folder: SourceFolder, told: Mapping[str, str]) -> bool:
    """Whether nothing tells the modality: a pool's name stands for it, to be said wherever it is used."""
    return isinstance(folder.location, Pool) and folder.name not in told


def modalities_of(folders: Sequence[SourceFolder], told: Mapping[str, str]) -> dict[str, str]:
    """Name the modality of every source.

    Returns:
        Name of the source to its modality, in the order of the sources; spelt alike where only the case differs.

    Raises:
        SetupError: If the modality of a source is told that is not there.
    """
    names = [folder.name for folder in folders]
    for name in told:
        if name not in names:
            raise SetupError(
                f"--modality {name}={told[name]}: there is no source {name}; the sources are {', '.join(names)}",
                mend=f"--modality {names[0]}={told[name]}",
            )
    spelt: dict[str, str] = {}
    return {
        folder.name: "+".join(
            spelt.setdefault(name.strip().lower(), name.strip()) for name in modality_of(folder, told).split("+")
        )
        for folder in folders
    }


def find_modalities(
    used: Sequence[str],
    folders: Sequence[SourceFolder],
    config: UniversalModelConfig,
    *,
    single_channel: bool = False,
) -> dict[str, tuple[str, ...]]:
    """Modality of every source that a run learns from, for the adversary of the Universal Model.

    Args:
        used: Names of these sources.
        folders: All sources, also those of which no case is left.
        config: Tells modalities, and whether they matter.
        single_channel: Whether every patch is one channel of its scan.

    Returns:
        Per source one modality; where channels are drawn, one per channel if there are several, told as ``T1+T2``.

    Raises:
        SetupError: If nothing tells the modality of a source and it matters, or one is told that is not there, or more
            or fewer than there are channels.
    """
    told = parse_modalities(config.modality)
    modalities = modalities_of(folders, told)
    guessed = [folder.name for folder in folders if is_guessed(folder, told)]
    if guessed and config.adversary_strength:
        raise SetupError(
            f"nothing tells the modality of pool {guessed[0]}, and the adversary would take its name for one",
            mend=f"--modality {' '.join(f'{name}=MR' for name in guessed)} (or CT, PET, ...), or --adversary-weight 0",
        )
    found = {
        folder.name: _per_channel(folder, modalities[folder.name]) if single_channel else (modalities[folder.name],)
        for folder in folders
        if folder.name in used
    }
    different = {one for own in found.values() for one in own}
    if config.adversary_strength and len(different) == 1:
        LOGGER.warning("all sources are %s: there is no modality to hide, the adversary is off", *different)
    return found


def _per_channel(folder: SourceFolder, modality: str) -> tuple[str, ...]:
    location = folder.location
    channels = location.count_channels() if isinstance(location, Pool) else location.num_channels
    names = tuple(name.strip() for name in modality.split("+"))
    if len(names) not in {1, channels}:
        raise SetupError(
            f"--modality {folder.name}={modality}: {len(names)} modalities, the scans have {channels} channel(s)",
            mend=f"--modality {folder.name}=NAME, or {'+'.join(f'NAME{number}' for number in range(channels))}",
        )
    return names
