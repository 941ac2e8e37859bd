"""Read our own pretraining checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nnunet_genesis.checkpoint import check_written_by_us
from nnunet_genesis.interop.names import find_state_dict, tidy
from nnunet_genesis.interop.source import SourceModel

if TYPE_CHECKING:
    from pathlib import Path

KIND = "nnunet-genesis pretraining"
_FACTS = {
    "dataset": "dataset",
    "plans": "plans",
    "configuration": "configuration",
    "patch_size": "patch_size",
    "spacing": "spacing",
    "normalization_schemes": "normalization_schemes",
    "foreground_intensities": "foreground_intensities",
    "channel_names": "channel_names",
    "num_channels": "num_input_channels",
    "pretext": "method",
    "pretext_settings": "pretext_settings",
    "epochs": "epochs",
    "num_cases": "num_cases",
    "divergence": "divergence",
    "trainer": "trainer",
    "notes": "notes",
    "converted": "converted",
    "cases": "cases",
    "validation_cases": "validation_cases",
    "scans": "scans",
    "sources": "sources",
    "package_versions": "package_versions",
    "citations": "citations",
}
"""Key in the ``genesis`` entry to the known name of the fact."""


def is_genesis(content: Mapping[str, Any]) -> bool:
    """Whether a loaded file is a checkpoint of ours."""
    return "network_weights" in content and isinstance(content.get("genesis"), Mapping)


def convert(content: Mapping[str, Any], file: Path) -> SourceModel:
    """Take a checkpoint of ours apart.

    Raises:
        CheckpointError: If its format is newer than this version, if its weights are not those that were written, or if
            they are not finite.
    """
    check_written_by_us(content, file)
    told = content["genesis"]
    weights = find_state_dict(content, file)
    facts = {fact: told[key] for key, fact in _FACTS.items() if key in told}
    architecture = told.get("architecture")
    return SourceModel(
        KIND, file, tidy(weights, file), architecture if isinstance(architecture, Mapping) else None, facts
    )
