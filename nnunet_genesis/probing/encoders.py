"""The encoders that are compared: random initial weights first, then those of the files."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nnunet_genesis import encoder_file, hub
from nnunet_genesis.checkpoint import FINAL_NAME, pretext_of, sha256_of_file
from nnunet_genesis.encoder import PretrainedEncoder, load_encoder
from nnunet_genesis.errors import SetupError
from nnunet_genesis.interop import open_source
from nnunet_genesis.networks import build_source_network
from nnunet_genesis.pretraining.pooled_features import check_fits
from nnunet_genesis.pretraining.seeds import Stream, initial_weights
from nnunet_genesis.pretraining.single_channel import single_channel_plans
from nnunet_genesis.probing.seen_scans import SeenScans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from nnunet_genesis.interop.source import SourceModel
    from nnunet_genesis.plans import PlannedConfiguration

LOGGER = logging.getLogger("nnunet_genesis")
RANDOM = "random weights"


@dataclass(frozen=True)
class ProbedEncoder:
    """One encoder.

    Attributes:
        name: For table and picture.
        encoder: On the CPU, in eval mode.
        seen: What it learned from; nothing for random weights.
        origin: Plain values for the report.
    """

    name: str
    encoder: PretrainedEncoder
    seen: SeenScans
    origin: Mapping[str, Any]


def learned_single_channel(facts: Mapping[str, Any], planned: PlannedConfiguration) -> bool:
    """Whether a file tells of a pretraining for this dataset with ``--single-channel``."""
    return facts.get("dataset") == planned.dataset_name and facts.get("num_input_channels") == 1 < planned.num_channels


def open_encoders(
    files: Sequence[str],
    names: Sequence[str],
    planned: PlannedConfiguration,
    seed: int,
    *,
    single_channel: bool = False,
) -> list[ProbedEncoder]:
    """Load encoders, and before them one with random weights per architecture.

    The random weights are those that a pretraining with this seed begins with.

    Args:
        files: Anything that `load_encoder` reads.
        names: One per file, or none: then they follow from the paths.
        planned: The dataset's plans.
        seed: Of the random weights.
        single_channel: Whether patches show one channel of their scan.

    Raises:
        CheckpointError, TransferError: If a file holds no encoder.
        SetupError: If an encoder does not fit the patches, learned from one channel of this dataset's scans where
            others learned from all, or names and files do not match.
    """
    if names and len(names) != len(files):
        raise SetupError(
            f"--names: {len(names)} name(s) for {len(files)} checkpoint(s)", mend="one name per checkpoint, in order"
        )
    names = names or name_files(files)
    if len({*names, RANDOM}) <= len(names):
        raise SetupError("--names: two panels would have the same name", mend="give every checkpoint a name of its own")
    shown = single_channel_plans(planned) if single_channel else planned
    loaded: list[ProbedEncoder] = []
    architectures: list[tuple[SourceModel, list[str]]] = []
    for file, name in zip(files, names, strict=True):
        path = hub.resolve(file)
        source = open_source(path)
        if source.facts.get("dataset") == planned.dataset_name:
            _check_channels(source.facts, planned, file, name, single_channel=single_channel)
        encoder = load_encoder(path, in_channels=shown.num_channels).eval()
        check_fits(encoder, planned, file, name)
        padded = encoder.fitting_size(planned.patch_size)
        if padded != planned.patch_size:
            LOGGER.warning(
                "%s: its encoder does not take patches of %s voxels: they are padded with zeros to %s, which blurs what"
                " its features and those of random weights tell",
                name,
                planned.patch_size,
                padded,
            )
        seen = SeenScans.from_facts(source.facts)
        if not seen.is_told:
            LOGGER.warning(
                "%s does not tell which scans it learned from: any of them may be among the test scans", name
            )
        origin = {
            "file": str(file),
            "sha256": sha256_of_file(path),
            "kind": source.kind,
            "tells_cases": seen.is_told,
            "input_size": list(padded),
        }
        loaded.append(ProbedEncoder(name, encoder, seen, origin))
        alike = next((users for one, users in architectures if one.architecture == source.architecture), None)
        if alike is None:
            architectures.append((source, [name]))
        else:
            alike.append(name)
    random = [
        ProbedEncoder(
            RANDOM if len(architectures) == 1 else f"{RANDOM} ({', '.join(users)})",
            initial_encoder(source, shown.num_channels, seed),
            SeenScans.from_facts({}),
            {"seed": seed},
        )
        for source, users in architectures
    ]
    return random + loaded


def _check_channels(
    facts: Mapping[str, Any], planned: PlannedConfiguration, file: str, name: str, *, single_channel: bool
) -> None:
    if learned_single_channel(facts, planned) == single_channel:
        return
    learned, shown = ("all channels of a scan", "one at a time, as the first checkpoint (--single-channel)")
    if not single_channel:
        learned, shown = ("one channel at a time (--single-channel)", "all of them, as the first checkpoint")
    raise SetupError(
        f"{name} learned from {learned}, and this probe shows {shown}",
        where=file,
        mend=f"genesis probe {shlex.quote(str(file))}, apart from the others",
    )


def initial_encoder(source: SourceModel, channels: int, seed: int) -> PretrainedEncoder:
    """Build the encoder that a file describes with the weights that pretraining with a seed begins with."""
    with initial_weights(seed, Stream.INITIAL_WEIGHTS):
        network = build_source_network(source, channels, channels)
    return PretrainedEncoder(network.get_submodule("encoder"), channels, encoder_file.describe(source)).eval()


def name_files(files: Sequence[str]) -> list[str]:
    """Short names: the folder of a pretraining, and the file where it is not the final checkpoint."""
    names = []
    for file in files:
        path = PurePosixPath(str(file).replace("\\", "/"))
        folder = pretext_of(path.parent.name)
        names.append(folder if path.name == FINAL_NAME and folder else f"{folder}/{path.stem}".lstrip("/"))
    return names if len(set(names)) == len(names) else [str(file) for file in files]
