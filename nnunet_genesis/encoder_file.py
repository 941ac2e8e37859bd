"""The file format of an exported encoder: safetensors, with a description as JSON in the metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nnunet_genesis import __version__
from nnunet_genesis.checkpoint import CHECKSUM_KEY
from nnunet_genesis.errors import UPDATE, CheckpointError
from nnunet_genesis.facts_checks import check_facts
from nnunet_genesis.interop.names import check_finite
from nnunet_genesis.interop.source import SourceModel
from nnunet_genesis.json_reading import parse_json
from nnunet_genesis.plain_values import plain
from nnunet_genesis.weights_digest import weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

KEY = "nnunet_genesis_encoder"
FORMAT_VERSION = 1
KIND = "exported encoder"
_FACTS = (
    "dataset",
    "plans",
    "configuration",
    "patch_size",
    "spacing",
    "normalization_schemes",
    "foreground_intensities",
    "channel_names",
    "num_input_channels",
    "method",
    "epochs",
    "num_cases",
    "trainer",
    "package_versions",
    "citations",
    "exported_from",
)
"""What an exported file says; chosen by name so that names of cases and paths never slip in."""


def describe(source: SourceModel) -> dict[str, Any]:
    """What is worth knowing of an encoder's weights, in plain values, without names of cases."""
    described = {name: plain(source.facts[name]) for name in _FACTS if name in source.facts}
    described.setdefault("exported_from", source.kind)
    return {"architecture": plain(source.architecture), **described}


def is_encoder_file(file: Path) -> bool:
    """Whether a file is safetensors, by its first bytes (length of the header, then JSON)."""
    with file.open("rb") as stream:
        start = stream.read(9)
    return len(start) == 9 and start[8:] == b"{"


def to_bytes(weights: Mapping[str, torch.Tensor], description: Mapping[str, Any]) -> bytes:
    """The content of a file: tensors under nnU-Net's names, and the description."""
    import safetensors.torch

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    head = {"format_version": FORMAT_VERSION, "written_by": f"nnunet-genesis {__version__}"}
    text = json.dumps({**head, CHECKSUM_KEY: weights_digest(tensors), **description})
    # One entry: safetensors writes several in random order, and equal weights shall give equal files.
    return safetensors.torch.save(tensors, metadata={KEY: text})


def read(file: Path) -> SourceModel:
    """Read an exported encoder.

    Raises:
        CheckpointError: If the file is damaged, or is safetensors of another kind.
    """
    import safetensors

    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(KEY)
            weights = {} if text is None else {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        description = None if text is None else parse_json(text)
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"the file is damaged or incomplete ({error})", where=file, mend="copy or export it again"
        ) from error
    if not isinstance(description, dict):
        raise CheckpointError(
            f"safetensors without the description of an encoder (metadata entry {KEY})",
            where=file,
            mend="use a file that 'genesis export --encoder' wrote",
        )
    architecture = description.pop("architecture", None)
    if not isinstance(architecture, (dict, type(None))):
        raise CheckpointError(
            f"the architecture of the encoder is a {type(architecture).__name__}",
            where=file,
            mend="copy or export it again",
        )
    version = description.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"format version {version!r} of an exported encoder is unknown, this version reads {FORMAT_VERSION}",
            where=file,
            mend=UPDATE,
        )
    checksum = description.pop(CHECKSUM_KEY, None)
    if checksum is not None and checksum != weights_digest(weights):
        raise CheckpointError(
            "the weights are not those that were written: their checksum differs",
            where=file,
            mend="copy or export it again",
        )
    check_facts(description, file)
    check_finite(weights, file)
    return SourceModel(KIND, file, weights, architecture, description)
