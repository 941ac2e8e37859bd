"""What every reader of weights returns: tensors under nnU-Net v2's names, and the facts that the file tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch


@dataclass(frozen=True)
class SourceModel:
    """Weights from a file, whoever wrote it.

    Attributes:
        kind: Name of the format for people, e.g. "nnU-Net v2 model".
        file: Where the weights come from.
        weights: State dict on the CPU, named as in `dynamic_network_architectures`: ``encoder.stages...``,
            ``encoder.stem...`` (residual encoders), ``decoder...``; no aliases (``decoder.encoder.*``,
            ``*.all_modules.*``) and no prefixes of wrappers.
        architecture: The ``architecture`` entry of nnU-Net's plans (``network_class_name``, ``arch_kwargs``,
            ``_kw_requires_import``) that builds the network of these weights, or None where the file does not tell.
        facts: What else the file tells, plain values only; known names: ``dataset``, ``plans``, ``configuration``,
            ``patch_size``, ``spacing``, ``normalization_schemes``, ``channel_names``, ``num_input_channels``,
            ``method``, ``epochs``, ``trainer``, ``package_versions``, ``citations``.
    """

    kind: str
    file: Path
    weights: Mapping[str, torch.Tensor]
    architecture: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
