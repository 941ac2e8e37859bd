"""Names of tensors in nnU-Net's U-Nets, and what they say about a tensor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ENCODER_PREFIX = "encoder."
DECODER_PREFIX = "decoder."
_HEADS = re.compile(r"^decoder\.seg_layers\.")
_TRANSPOSED = re.compile(r"^decoder\.transpconvs\.")
_DECODER_STAGE = re.compile(r"^(decoder\.(?:stages|transpconvs)\.)(\d+)(\..*)$")
_ENCODER_STAGE = re.compile(r"^encoder\.stages\.(\d+)\.")
_RESIDUAL = re.compile(r"^encoder\.(?:stem\.|stages\.\d+\.blocks\.)")
_PLAIN = re.compile(r"^encoder\.stages\.\d+\.\d+\.convs\.")
_DECODERS_ENCODER = re.compile(r"^decoder\.encoder\.")
_ALL_MODULES = re.compile(r"\.all_modules\.(\d+)\.")
_FIRST_CONVOLUTIONS = (
    re.compile(r"^encoder\.stem\.convs\.0\.conv\.weight$"),
    re.compile(r"^encoder\.stages\.0\.\d+\.convs\.0\.conv\.weight$"),
    re.compile(r"^encoder\.stages\.0\.blocks\.0\.(?:conv1|skip\.\d+)\.conv\.weight$"),
)
"""In order: where an earlier pattern finds something, the later ones are not first."""


def is_head(name: str) -> bool:
    """Whether a tensor belongs to a segmentation head, which is never transferred."""
    return bool(_HEADS.match(name))


def is_alias(name: str) -> bool:
    """Whether a state dict lists the same tensor under another name, too."""
    return bool(_DECODERS_ENCODER.search(name) or _ALL_MODULES.search(name))


def plain_names(alias: str) -> list[str]:
    """Plain names that an alias may stand for; in a block, the convolution is the first of ``all_modules``."""
    name = _DECODERS_ENCODER.sub("encoder.", alias)
    found = _ALL_MODULES.search(name)
    if found is None:
        return [name]
    parts = ("conv",) if found[1] == "0" else ("norm", "nonlin")
    return [f"{name[: found.start()]}.{part}.{name[found.end() :]}" for part in parts]


def is_transposed(name: str) -> bool:
    """Whether a tensor belongs to a transposed convolution."""
    return bool(_TRANSPOSED.match(name))


def first_convolutions(names: Iterable[str]) -> set[str]:
    """The weights that see the input's channels."""
    names = list(names)
    for pattern in _FIRST_CONVOLUTIONS:
        found = {name for name in names if pattern.match(name)}
        if found:
            return found
    return set()


def encoder_family(names: Iterable[str]) -> str | None:
    """Family of an encoder by the names of its tensors: "residual", "plain", or None for neither."""
    names = list(names)
    if any(_RESIDUAL.match(name) for name in names):
        return "residual"
    return "plain" if any(_PLAIN.match(name) for name in names) else None


def num_stages(names: Iterable[str]) -> int:
    """Stages of the encoder; 0 if there is none."""
    return max((int(found[1]) + 1 for found in map(_ENCODER_STAGE.match, names) if found), default=0)


def is_statistic(name: str) -> bool:
    """Whether a tensor is a running statistic of a normalisation, not a parameter."""
    return name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))


def is_convolution(name: str) -> bool:
    """Whether a tensor is the kernel of a convolution that is not transposed."""
    return name.endswith("conv.weight") and not is_transposed(name)


def is_convolution_within(name: str, stages: int) -> bool:
    """Whether a tensor is the kernel of a convolution in the first `stages` stages of the encoder."""
    found = _ENCODER_STAGE.match(name)
    return found is not None and int(found[1]) < stages and is_convolution(name)


def name_in_source(name: str, target_stages: int, source_stages: int) -> str:
    """Name of the source tensor that does the same job.

    Encoder stages count from the highest resolution, decoder stages from the lowest: where depths differ, the decoder
    stage of the same resolution has another number (possibly a negative one, which no tensor has).
    """
    found = _DECODER_STAGE.match(name)
    if found is None:
        return name
    return f"{found[1]}{int(found[2]) + source_stages - target_stages}{found[3]}"
