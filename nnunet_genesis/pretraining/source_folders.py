"""Where the cases of a run lie: the dataset's own, other datasets preprocessed alike, and pools of unlabeled scans."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.nnunet_folders import datasets_of_id, find_dataset_folder, is_dataset_name
from nnunet_genesis.plans import list_cases, load_planned_configuration, require_cases
from nnunet_genesis.plans_files import find_plans
from nnunet_genesis.preprocessing_facts import describe_differences
from nnunet_genesis.pretraining.unlabeled.pool import Pool, find_pools, open_pools

if TYPE_CHECKING:
    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration

LOGGER = logging.getLogger("nnunet_genesis")
OWN_CASES = "labelled"
"""Name of the source of a dataset's own cases."""


@dataclass(frozen=True)
class SourceFolder:
    """Where one source lies; not read yet.

    Attributes:
        name: `OWN_CASES`, the name of a dataset or of a pool.
        location: Plans of the dataset, or the pool.
    """

    name: str
    location: PlannedConfiguration | Pool

    @property
    def kind(self) -> str:
        """What it is, in words."""
        if isinstance(self.location, Pool):
            return "pool"
        return "labelled cases" if self.name == OWN_CASES else "dataset"


def find_source_folders(planned: PlannedConfiguration, config: PretrainingConfig) -> list[SourceFolder]:
    """Find everything that a run shall learn from, and check that it was preprocessed as the plans say.

    Raises:
        SetupError: If a source is missing, was preprocessed otherwise, or none is named; or if there is no such fold as
            shall be excluded.
    """
    if config.exclude_fold is not None:
        planned.validation_cases(config.exclude_fold)
    folders = []
    if config.labelled:
        require_cases(planned)
        folders.append(SourceFolder(OWN_CASES, planned))
    pools = list(config.pools)
    if OWN_CASES in pools:
        raise SetupError(
            f"a pool named '{OWN_CASES}' cannot be told from the dataset's own cases",
            where=planned.pools_folder / OWN_CASES,
            mend="rename its folder",
        )
    for dataset in config.datasets:
        if dataset == planned.dataset_name:
            raise SetupError(
                f"--datasets {dataset}: its own cases are learned from anyway", mend="leave out --no-labelled"
            )
        # A dataset without labels has no preprocessed folder of its own: it was made a pool of its name.
        if dataset in find_pools(planned):
            pools.append(dataset)
        else:
            folders.append(SourceFolder(dataset, _find_agreeing_plans(planned, dataset)))
    folders += [
        SourceFolder(pool.name, pool) for pool in open_pools(planned, pools, single_channel=config.single_channel)
    ]
    if not folders:
        raise SetupError("--no-labelled leaves nothing to learn from", mend="--pools NAME, or --datasets ID")
    names = [folder.name for folder in folders]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SetupError(f"named twice: {', '.join(twice)}", mend="name every pool and dataset once")
    return folders


def resolve_dataset_name(planned: PlannedConfiguration, name_or_id: str) -> str:
    """Full name of a dataset that is preprocessed, raw, or a pool for these plans.

    Raises:
        SetupError: If no dataset or several have the id.
    """
    if is_dataset_name(name_or_id):
        return name_or_id
    if not name_or_id.isdecimal():
        raise SetupError(
            f"--datasets {name_or_id}: neither a dataset id nor a name like Dataset012_ChestCT",
            mend="--datasets 12, or --pools for a pool",
        )
    rooms = [planned.dataset_folder.parent, planned.pools_folder, Path(os.environ.get("nnUNet_raw") or os.devnull)]
    names = datasets_of_id(name_or_id, *rooms)
    if len(names) == 1:
        return names[0]
    raise SetupError(
        f"--datasets {name_or_id}: "
        + (f"several datasets have this id: {', '.join(names)}" if names else "no dataset has this id"),
        where=rooms[0],
        mend="give the full name"
        if names
        else "--datasets with the id of a dataset in nnUNet_preprocessed, nnUNet_raw or the pools of this dataset",
    )


def _find_agreeing_plans(planned: PlannedConfiguration, dataset: str) -> PlannedConfiguration:
    """Find the plans and configuration of another dataset that preprocess exactly as these, and are preprocessed."""
    make_pool = (
        f"genesis preprocess-unlabeled -d {planned.dataset_name} -c {planned.configuration} -p {planned.plans_name}"
        f" --datasets {dataset}"
    )
    try:
        folder = find_dataset_folder(dataset)
    except SetupError as error:
        raise SetupError(
            f"--datasets {dataset}: it was neither preprocessed nor made a pool for {planned.dataset_name}",
            where=planned.pools_folder,
            mend=make_pool,
        ) from error
    told = []
    for file, plans in sorted(
        find_plans(folder), key=lambda found: (found[0].stem != planned.plans_name, found[0].name)
    ):
        for configuration in plans["configurations"]:
            # Nothing is trained by these plans: a copy that kept its old name is as good as any.
            other = load_planned_configuration(
                folder.name, file.stem, configuration, needs_cases=False, needs_own_name=False
            )
            differences = describe_differences(planned.preprocessing, other.preprocessing)
            differences += _compare_channels(planned, other)
            if not differences and other.cases_folder.is_dir() and list_cases(other.cases_folder):
                return other
            if configuration == planned.configuration:
                reason = differences[0] if differences else "not preprocessed yet"
                told.append(f"    {file.stem}, {configuration}: {reason}")
    raise SetupError(
        f"--datasets {dataset}: none of its plans preprocess as {planned.plans_name} of {planned.dataset_name} does:\n"
        + "\n".join(told or ["    (no plans)"]),
        where=folder,
        mend=f"{make_pool}\n  (preprocesses the raw images by the plans of {planned.dataset_name}; no labels are read)",
    )


def _compare_channels(planned: PlannedConfiguration, other: PlannedConfiguration) -> list[str]:
    """Refuse the same channels in another order; other names may mean the same, and are told."""
    wanted, found = ([name.lower() for name in plans.channel_names] for plans in (planned, other))
    if wanted == found or len(wanted) != len(found):
        return []
    if sorted(wanted) == sorted(found):
        return [f"order of channels: {list(other.channel_names)}, wanted {list(planned.channel_names)}"]
    LOGGER.warning(
        "%s has channels %s, %s has %s: make sure that they mean the same",
        other.dataset_name,
        list(other.channel_names),
        planned.dataset_name,
        list(planned.channel_names),
    )
    return []
