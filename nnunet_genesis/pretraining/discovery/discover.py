"""Self-discovery from sources to classes."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nnunet_genesis import hub
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.discovery.autoencoder import learn_features
from nnunet_genesis.pretraining.discovery.classes import ClassSearch, FoundClass
from nnunet_genesis.pretraining.discovery.crop_size import choose_crop_size
from nnunet_genesis.pretraining.discovery.encoder_features import compute_features
from nnunet_genesis.pretraining.discovery.neighbours import NeighbourSearch
from nnunet_genesis.pretraining.discovery.result import DiscoveredScan, Discovery, PseudoClass
from nnunet_genesis.pretraining.discovery.scan_table import list_scans
from nnunet_genesis.pretraining.discovery.storage import (
    describe_origin,
    discovery_file,
    read_discovery,
    write_discovery,
)
from nnunet_genesis.pretraining.discovery.thumbnails import open_thumbnails, read_scans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from nnunet_genesis.config import DiscoveryConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.discovery.scan_table import ScanTable
    from nnunet_genesis.pretraining.sources import Source

LOGGER = logging.getLogger("nnunet_genesis")
MINIMUM_SCANS, MINIMUM_TRAIN = 8, 4
"""Scans of all sources, held-out ones included, and those of them that are learned from (ours)."""


def discover(
    planned: PlannedConfiguration,
    config: DiscoveryConfig,
    sources: Sequence[Source],
    *,
    seed: int,
    folder: Path,
    workers: int,
    show_progress: bool,
) -> Discovery:
    """Find classes of places that look alike in many scans, or read them where they were found before.

    The same sources, settings, seed and package versions give the same classes (on the same number of threads: the
    auto-encoder's arithmetic depends on it in the last digits). Held-out scans are in no class's `train`, and the
    auto-encoder never learns from them.

    Args:
        planned: The dataset's plans.
        config: Settings.
        sources: What `open_sources` returned.
        seed: The run's seed.
        folder: Output folder of the pretraining; the discovery is kept in ``discovery/HASH/discovery.json`` there.
        workers: Threads that read.
        show_progress: Whether to show bars.

    Raises:
        SetupError: If there are fewer than eight scans, too few to learn from, none held out, or the encoder does not
            suit the patches.
        DataError: If a case cannot be read, or scans share no places.
        CheckpointError: If the kept discovery or the file of features cannot be read.
    """
    scans = list_scans(sources)
    held_out = len(scans) - scans.num_train
    if len(scans) < MINIMUM_SCANS or scans.num_train < MINIMUM_TRAIN or not held_out:
        raise SetupError(
            f"self-discovery has {len(scans)} scans ({held_out} of them held out), at least {MINIMUM_SCANS} are needed,"
            f" {MINIMUM_TRAIN} of them to learn from and one held out",
            where=planned.cases_folder,
            mend="add unlabeled scans with genesis preprocess-unlabeled and name them with --pools, or take --pretext"
            " models-genesis",
        )
    origin = describe_origin(planned, config, scans, seed)
    file = discovery_file(folder, origin)
    if file.is_file():
        LOGGER.info("self-discovery: taken from %s", file)
        return read_discovery(file)
    if config.features is None:
        file.parent.mkdir(parents=True, exist_ok=True)
    thumbnails_file = file.parent / f".thumbnails.{os.getpid()}.tmp"
    try:
        boxes = read_scans(
            scans,
            planned,
            thumbnails_file if config.features is None else None,
            workers=workers,
            show_progress=show_progress,
        )
        crop_size = choose_crop_size(planned, boxes[: scans.num_train])
        report: dict[str, Any] = {}
        if config.features is None:
            features, errors = learn_features(
                open_thumbnails(scans, planned, thumbnails_file), scans.num_train, seed, show_progress=show_progress
            )
            report["reconstruction_error"] = asdict(errors)
            _tell_errors(errors.autoencoder, errors.mean_image)
        else:
            features = compute_features(
                hub.resolve(config.features),
                scans,
                boxes,
                crop_size,
                planned,
                workers=workers,
                show_progress=show_progress,
            )
    finally:
        with suppress(PermissionError):  # Windows, where something still maps it; it may be deleted by hand
            thumbnails_file.unlink(missing_ok=True)
    nearest = NeighbourSearch(features, scans.num_train)
    search = ClassSearch(scans, boxes, crop_size, planned.spacing, config=config, nearest=nearest)
    found = search.find(seed)
    classes, used = _number_scans(found, scans, boxes)
    discovery = Discovery(classes, used, crop_size, planned.spacing, report, origin)
    write_discovery(file, discovery)
    LOGGER.info("self-discovery: %s; kept in %s", describe(discovery), file)
    return discovery


def describe(discovery: Discovery) -> str:
    """One line for the log."""
    crop = " x ".join(map(str, discovery.crop_size))
    in_mm = " x ".join(f"{n * mm:.0f}" for n, mm in zip(discovery.crop_size, discovery.spacing, strict=True))
    train = [len(one.train) for one in discovery.classes]
    held_out = [len(one.held_out) for one in discovery.classes]
    return (
        f"{discovery.num_classes} classes of {_span(train)} training and {_span(held_out)} held-out scans,"
        f" crops of {crop} voxels ({in_mm} mm)"
    )


def _span(counts: list[int]) -> str:
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _tell_errors(autoencoder: float, mean_image: float) -> None:
    LOGGER.info(
        "self-discovery: the auto-encoder's reconstruction error on held-out scans is %.3f (mean image: %.3f)",
        autoencoder,
        mean_image,
    )
    if autoencoder >= mean_image:
        LOGGER.warning(
            "self-discovery: the auto-encoder reconstructs held-out scans no better than the mean image does (%.3f,"
            " %.3f): which scans count as alike is close to chance; more scans or --features FILE help",
            autoencoder,
            mean_image,
        )


def _number_scans(
    found: Sequence[FoundClass], scans: ScanTable, boxes: npt.NDArray[np.int32]
) -> tuple[tuple[PseudoClass, ...], tuple[DiscoveredScan, ...]]:
    """Keep the scans that are used, under numbers of their own."""
    used = sorted({scan for one in found for scan in (*one.train, *one.held_out)})
    numbers = {scan: number for number, scan in enumerate(used)}
    classes = [
        PseudoClass(
            numbers[one.reference],
            (one.place[0], one.place[1], one.place[2]),
            tuple(numbers[scan] for scan in one.train),
            tuple(numbers[scan] for scan in one.held_out),
        )
        for one in found
    ]
    described = [
        DiscoveredScan(scans.source(scan), scans.case(scan), tuple((int(a), int(b)) for a, b in boxes[scan]))
        for scan in used
    ]
    return tuple(classes), tuple(described)
