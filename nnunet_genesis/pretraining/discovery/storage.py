"""Discoveries on disk: each in a folder that is named after all that it follows from."""

from __future__ import annotations

import hashlib
import json
import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nnunet_genesis import __version__, hub
from nnunet_genesis.checkpoint import sha256_of_file
from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.files import replacing
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.pretraining.discovery.result import Discovery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_genesis.config import DiscoveryConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.discovery.scan_table import ScanTable

LOGGER = logging.getLogger("nnunet_genesis")
FORMAT_VERSION = 2
FOLDER_NAME = "discovery"
"""Folder of all discoveries inside the output folder of a pretraining."""
FILE_NAME, PICTURE_NAME = "discovery.json", "discovery.png"
_PACKAGES = ("torch", "numpy", "scikit-learn")


def describe_origin(
    planned: PlannedConfiguration, config: DiscoveryConfig, scans: ScanTable, seed: int
) -> dict[str, Any]:
    """All that a discovery follows from, in plain values.

    Raises:
        CheckpointError: If the file of features cannot be found.
    """
    settings: dict[str, Any] = dict(vars(config))
    if config.features is not None:
        # The file's content counts, not where it lies.
        settings["features"] = sha256_of_file(hub.resolve(config.features))
    return {
        "format_version": FORMAT_VERSION,
        "dataset": planned.dataset_name,
        "plans": planned.plans_name,
        "configuration": planned.configuration,
        "patch_size": list(planned.patch_size),
        "spacing": list(planned.spacing),
        "strides": list(planned.total_strides()),
        "num_cases": scans.num_train,
        "num_validation_cases": len(scans) - scans.num_train,
        "cases_sha256": _digest(scans, range(scans.num_train)),
        "validation_cases_sha256": _digest(scans, range(scans.num_train, len(scans))),
        "chances": [
            float(scans.chances[scans.group[: scans.num_train] == group].sum())
            for group in range(len(scans.source_names))
        ],
        "seed": seed,
        "settings": settings,
        "package_versions": {"nnunet_genesis": __version__, **{name: version(name) for name in _PACKAGES}},
    }


def discovery_file(folder: Path, origin: Mapping[str, Any]) -> Path:
    """Where the discovery with this origin is kept.

    Args:
        folder: Output folder of a pretraining.
        origin: What `describe_origin` returned.
    """
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
    return folder / FOLDER_NAME / digest[:16] / FILE_NAME


def read_discovery(file: Path) -> Discovery:
    """Read what `write_discovery` wrote.

    Raises:
        CheckpointError: If the file is damaged.
    """
    try:
        return Discovery.from_dict(read_json(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"the kept discovery cannot be read ({type(error).__name__}: {error})",
            where=file,
            mend="delete the file: it will be made again",
        ) from error


def find_discovery(folder: Path, digest: str) -> Discovery | None:
    """Find the discovery with this `Discovery.digest`, whatever it followed from: a continued run goes on with its own.

    Args:
        folder: Output folder of a pretraining.
        digest: What its checkpoint tells.

    """
    for file in sorted((folder / FOLDER_NAME).glob(f"*/{FILE_NAME}")):
        try:
            discovery = read_discovery(file)
        except CheckpointError as error:
            LOGGER.warning("%s", error)  # another one may be the one that is sought
            continue
        if discovery.digest() == digest:
            return discovery
    return None


def write_discovery(file: Path, discovery: Discovery) -> None:
    """Write a discovery; readers see all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        part.write_text(json.dumps(discovery.as_dict(), separators=(",", ":")) + "\n")


def _digest(scans: ScanTable, numbers: range) -> str:
    digest = hashlib.sha256()
    for scan in numbers:
        sha256 = scans.indices[scans.group[scan]].sha256[scans.number[scan]]
        digest.update(f"{scans.source(scan)}\t{scans.case(scan)}\t{sha256}\n".encode())
    return digest.hexdigest()
