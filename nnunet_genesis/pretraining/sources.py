"""The sources of a run: which of their cases are used, and how often each source is drawn from."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.exclusion_list import SCAN_PREFIX
from nnunet_genesis.pretraining.modalities import is_guessed, modalities_of, parse_modalities
from nnunet_genesis.pretraining.source_folders import OWN_CASES, SourceFolder
from nnunet_genesis.pretraining.source_index import open_index
from nnunet_genesis.pretraining.split import draw_validation_cases
from nnunet_genesis.pretraining.unlabeled.pool import Pool, find_pools
from nnunet_genesis.pretraining.unlabeled.pool_index import index_pool
from nnunet_genesis.raw_scan_keys import SCAN_KEYS_FILE, read_scan_keys
from nnunet_genesis.scans.voxel_hash import channel_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.case_index import CaseIndex

LOGGER = logging.getLogger("nnunet_genesis")


@dataclass(frozen=True, eq=False)
class Source:
    """Cases that a run learns from.

    Attributes:
        name: "labelled", or the name of a dataset or pool.
        kind: What it is, in words.
        train: Cases that patches are drawn from.
        validation: Cases of the fixed validation pairs; may be none where the source has one case.
        excluded: Cases that are kept out because they were to be excluded.
        repeated: Cases that are kept out because they are there already, here or in an earlier source.
        chance: Share of the patches that come from here.
    """

    name: str
    kind: str
    train: CaseIndex
    validation: CaseIndex
    excluded: tuple[str, ...]
    repeated: tuple[str, ...]
    chance: float

    def describe(self) -> str:
        """One line for the log."""
        kept_out = [
            f"{len(cases)} {word}"
            for cases, word in ((self.excluded, "excluded"), (self.repeated, "repeated"))
            if cases
        ]
        name = self.kind if self.name == OWN_CASES else f"{self.kind} {self.name}"
        return (
            f"{name}: {len(self.train)} cases to learn from, {len(self.validation) or 'too few to have any'} held out"
            + "".join(f", {text}" for text in kept_out)
            + f"; {100 * self.chance:.0f} % of the patches"
        )


def open_sources(
    planned: PlannedConfiguration,
    config: PretrainingConfig,
    folders: Sequence[SourceFolder],
    *,
    workers: int,
    show_progress: bool,
    earlier: Mapping[str, Any] | None = None,
) -> list[Source]:
    """Index all cases, leave out those that must not be seen and those that are there twice, and split the rest.

    Two cases are the same scan if their raw voxels are, whatever their names, formats and headers; where raw images
    are not at hand, if their preprocessed voxels are. A scan is excluded if one of its raw channels is one of an
    excluded scan: the trainer's check for leaks asks the same.

    Args:
        planned: The dataset's plans.
        config: Names what to exclude, the share to hold out, and how sources are weighed.
        folders: The sources, in the order in which the first of two equal scans is kept.
        workers: Threads that read.
        show_progress: Whether to show bars.
        earlier: The ``genesis`` entry of the run that is continued: its cases are used, on the sides where they were,
            and none that came since.

    Raises:
        DataError: If a case cannot be read.
        SetupError: If an excluded case does not exist, or fewer than two cases are left.
    """
    indices = [
        open_index(
            folder, workers=workers, show_progress=show_progress, expected=earlier and _cases_of(folder.name, earlier)
        )
        for folder in folders
    ]
    forbidden = _find_forbidden(planned, config, folders, indices, workers=workers, show_progress=show_progress)
    # A channel of an excluded scan may be a case of its own, or stand beside another one, or in another place.
    forbidden |= set().union(*map(channel_keys, forbidden))
    used = [set() if earlier is None else set(_cases_of(folder.name, earlier)) for folder in folders]
    # Where a run is continued, a case that came since may equal one that it learned from, and not the other way round.
    seen: set[str] = set()
    for index, names in zip(indices, used, strict=True):
        seen.update(
            *(index.keys_with_channels(number) for number, name in enumerate(index.identifiers) if name in names)
        )
    kept: list[tuple[SourceFolder, CaseIndex, tuple[str, ...], tuple[str, ...]]] = []
    for folder, index, names in zip(folders, indices, used, strict=True):
        excluded, repeated, mask = [], [], np.zeros(len(index), dtype=bool)
        for number, name in enumerate(index.identifiers):
            keys, keys_with_channels = index.keys(number), index.keys_with_channels(number)
            if keys_with_channels & forbidden:
                excluded.append(str(name))
            elif name not in names and (keys_with_channels if config.single_channel else keys) & seen:
                repeated.append(str(name))
            else:
                mask[number] = True
                seen |= keys_with_channels
        kept.append((folder, index.select(mask), tuple(excluded), tuple(repeated)))
    sources = []
    for entry in kept:
        folder, index, *_ = entry
        source = _split(*entry, config=config, earlier=earlier) if len(index) else None
        # A continued run may find cases where there were none when it began.
        if source is not None and (len(source.train) or len(source.validation)):
            sources.append(source)
        else:
            LOGGER.warning("%s %s: no case is left to learn from", folder.kind, folder.name)
    cases = sum(len(source.train) + len(source.validation) for source in sources)
    if not any(len(source.validation) for source in sources):
        kept_out = sum(len(excluded) for _, _, excluded, _ in kept)
        needed = (
            "at least 2 are needed" if cases < 2 else "but no source has two: one to learn from, one to be held out"
        )
        raise SetupError(
            f"{cases} case(s) to pretrain on, {needed}" + (f" ({kept_out} are excluded)" if kept_out else ""),
            where=planned.cases_folder if config.labelled else planned.pools_folder,
            mend=f"add images and run nnUNetv2_plan_and_preprocess -d {int(planned.dataset_name[7:10])},"
            " or add unlabeled scans with genesis preprocess-unlabeled and name them with --pools",
        )
    told = parse_modalities(config.universal_model.modality)
    modalities = modalities_of(folders, told)
    used_names = {source.name for source in sources}
    guessed = [folder.name for folder in folders if is_guessed(folder, told) and folder.name in used_names]
    if earlier is None and config.source_weights == "modality" and guessed and len(sources) > 1:
        LOGGER.warning(
            "--source-weights modality: nothing tells the modality of %s, and each counts as one of its own;"
            " --modality %s (or MR, PET, ...) tells it",
            ", ".join(guessed),
            " ".join(f"{name}=CT" for name in guessed),
        )
    chances = weigh(
        config.source_weights, [len(source.train) for source in sources], [modalities[one.name] for one in sources]
    )
    return [replace(source, chance=chance) for source, chance in zip(sources, chances, strict=True)]


def qualified(source_name: str, case: str) -> str:
    """Name of a case among all sources: that of the dataset's own cases as it is, others as ``SOURCE/CASE``."""
    return case if source_name == OWN_CASES else f"{source_name}/{case}"


def _cases_of(source_name: str, earlier: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the cases of one source that an earlier run used, by their names in it."""
    prefix = qualified(source_name, "")
    both = {**earlier["cases"], **earlier["validation_cases"]}
    if not prefix:
        return {name: sha256 for name, sha256 in both.items() if "/" not in name}
    return {name.removeprefix(prefix): sha256 for name, sha256 in both.items() if name.startswith(prefix)}


def weigh(rule: str, num_cases: Sequence[int], modalities: Sequence[str]) -> list[float]:
    """How often each source is drawn from.

    Args:
        rule: One of `nnunet_genesis.config.SOURCE_WEIGHTS`.
        num_cases: Training cases per source.
        modalities: Modality per source; ``T1+T2`` is one of its own, also where patches show one channel each: shares
            with which all channels are drawn alike may not exist.

    Returns:
        Shares that add up to 1.
    """
    if rule == "uniform":
        weights = [1.0] * len(num_cases)
    elif rule == "proportional":
        weights = [float(count) for count in num_cases]
    else:
        weights = [math.sqrt(count) for count in num_cases]
    if rule == "modality":
        totals = dict.fromkeys(modalities, 0.0)
        for weight, name in zip(weights, modalities, strict=True):
            totals[name] += weight
        weights = [weight / totals[name] for weight, name in zip(weights, modalities, strict=True)]
    return [weight / sum(weights) for weight in weights]


def _find_forbidden(
    planned: PlannedConfiguration,
    config: PretrainingConfig,
    folders: Sequence[SourceFolder],
    indices: Sequence[CaseIndex],
    *,
    workers: int,
    show_progress: bool,
) -> set[str]:
    """Keys of everything that must not be seen, under any name."""
    names = {name for name in config.exclude if not name.startswith(SCAN_PREFIX)}
    forbidden = {name.removeprefix(SCAN_PREFIX) for name in config.exclude} - names
    if config.exclude_fold is not None:
        names |= set(planned.validation_cases(config.exclude_fold))
    if not names:
        return forbidden
    found: set[str] = set()
    own = next((index for folder, index in zip(folders, indices, strict=True) if folder.name == OWN_CASES), None)
    if own is None and planned.cases_folder.is_dir():
        own = open_index(SourceFolder(OWN_CASES, planned), workers=workers, show_progress=show_progress)
    elif own is None:
        found = {name for name in names if "/" not in name}
        cache_file = planned.results_folder / SCAN_KEYS_FILE
        keys = read_scan_keys(planned.dataset_name, "imagesTr", found, cache_file=cache_file, workers=workers)
        forbidden |= set(keys.values())
    searched = [("", own)] if own is not None else []
    searched += [(f"{folder.name}/", index) for folder, index in zip(folders, indices, strict=True) if index is not own]
    # A list may name scans of a pool that this run does not learn from; equal ones may lie in those that it does.
    others = {name.partition("/")[0] for name in names if "/" in name} - {folder.name for folder in folders}
    searched += [
        (f"{name}/", index_pool(Pool(planned.pools_folder / name)))
        for name in sorted(others & set(find_pools(planned)))
    ]
    for prefix, index in searched:
        for number, name in enumerate(index.identifiers):
            if f"{prefix}{name}" in names:
                found.add(f"{prefix}{name}")
                forbidden |= index.keys(number)
    missing = sorted(names - found)
    if missing:
        raise SetupError(
            f"{len(missing)} case(s) to exclude are not preprocessed, the first is {missing[0]}",
            where=planned.cases_folder,
            mend="name cases of the dataset as they are, cases of a pool as POOL/CASE; preprocess missing ones",
        )
    return forbidden


def _split(
    folder: SourceFolder,
    index: CaseIndex,
    excluded: tuple[str, ...],
    repeated: tuple[str, ...],
    *,
    config: PretrainingConfig,
    earlier: Mapping[str, Any] | None,
) -> Source:
    if earlier is None:
        held_out = draw_validation_cases(
            folder.name, len(index), config.val_fraction, config.seed, is_main=folder.name == OWN_CASES
        )
        train = ~held_out
    else:
        names = [qualified(folder.name, str(case)) for case in index.identifiers]
        train = np.array([name in earlier["cases"] for name in names])
        held_out = np.array([name in earlier["validation_cases"] for name in names])
        new = len(index) - int((train | held_out).sum())
        if new:
            LOGGER.info("%s %s: %d new case(s) are not used by a continued run", folder.kind, folder.name, new)
    return Source(folder.name, folder.kind, index.select(train), index.select(held_out), excluded, repeated, chance=0.0)
