"""The flags that say what pretraining learns from; shared by pretraining and its preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.config import SOURCE_WEIGHTS

if TYPE_CHECKING:
    import argparse

    from nnunet_genesis.plans import PlannedConfiguration

_IMAGES_TS = (
    "learn from the dataset's test images too: only where a challenge's rules permit training on unlabelled test"
    " images, and never where a score on them is reported as one of unseen images"
    " (make the pool first: genesis preprocess-unlabeled -d DATASET --imagesTs)"
)


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a command."""
    group = parser.add_argument_group(
        "what to learn from", "The cases of DATASET, unless told otherwise, and everything named here."
    )
    add = group.add_argument
    add("--pools", nargs="+", metavar="POOL", help="unlabeled scans, made by genesis preprocess-unlabeled")
    add(
        "--datasets",
        nargs="+",
        metavar="DATASET",
        help="names or ids of further datasets: preprocessed by the same rules, or made pools by"
        " genesis preprocess-unlabeled --datasets; no labels are read",
    )
    add("--imagesTs", dest="images_ts", action="store_true", help=_IMAGES_TS)
    add("--no-labelled", action="store_true", help="do not learn from the cases of DATASET; only its plans are used")
    add(
        "--source-weights",
        choices=tuple(SOURCE_WEIGHTS),
        help="how often each source is drawn from: "
        + "; ".join(f"{name}: {meaning}" for name, meaning in SOURCE_WEIGHTS.items())
        + " (default: sqrt; of universal-model: modality)",
    )
    add(
        "--single-channel",
        action="store_true",
        default=None,  # left out, a run that is continued keeps what it began with
        help="pretrain with one input channel, drawn anew for every patch: for sources with other numbers of channels"
        " than the plans; training spreads it over all channels of the dataset",
    )
    add(
        "--exclude-fold",
        type=int,
        metavar="K",
        help="keep the validation cases of fold K, and every scan with the same voxels, out of pretraining",
    )
    add(
        "--exclude",
        dest="exclude_file",
        type=Path,
        metavar="FILE",
        help="keep the scans that a text file names out, under any name; per line a CASE of the dataset (imagesTr or"
        " imagesTs), POOL/CASE, or a path relative to the list",
    )


def resolve_sources(options: argparse.Namespace, planned: PlannedConfiguration) -> dict[str, Any]:
    """Turn the flags that were given into settings of `PretrainingConfig`; flags that were not given set nothing.

    Raises:
        SetupError: If a file cannot be read or a dataset does not exist.
    """
    settings: dict[str, Any] = {}
    from nnunet_genesis.pretraining.unlabeled.pool import IMAGES_TS_POOL

    pools = [*(options.pools or ()), *([IMAGES_TS_POOL] if options.images_ts else [])]
    if pools:
        settings["pools"] = tuple(pools)
    if options.datasets:
        from nnunet_genesis.pretraining.source_folders import resolve_dataset_name

        settings["datasets"] = tuple(resolve_dataset_name(planned, dataset) for dataset in options.datasets)
    if options.no_labelled:
        settings["labelled"] = False
    if options.single_channel:
        settings["single_channel"] = True
    if options.exclude_file is not None:
        from nnunet_genesis.pretraining.exclusion_list import resolve_exclusions

        settings["exclude"] = resolve_exclusions(planned, options.exclude_file)
    return settings
