"""nnU-Net v1 models (``.model``): Generic_UNet under the names of v2's PlainConvUNet, computing the same function.

Where the two networks agree and where not (nnunet 1.7.1, dynamic_network_architectures 0.4.4):

- Both put the upsampled channels before those of the skip connection, and number decoder stages, transposed
  convolutions and segmentation layers from the lowest resolution up: nothing is permuted.
- v1's transposed convolutions and, as a rule, segmentation layers have no bias, v2's have one: zeros.
- v1 builds a decoder stage with the kernel of the encoder stage *below* it, v2 with that of the encoder stage beside
  it. Where these differ, both get the longer one, with zeros around the shorter: the same function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad

from nnunet_genesis.facts_checks import usable_facts
from nnunet_genesis.interop.generic_unet import DECODER, ENCODER, places, read_structure, refusal
from nnunet_genesis.interop.layer_settings import IMPORTED, default_layer_settings
from nnunet_genesis.interop.source import SourceModel

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.interop.generic_unet import GenericUNet, Sides

KIND = "nnU-Net v1 model"
_WRAPPERS = ("module.", "_orig_mod.")
_ASSUMED = (
    "the file does not tell normalisation, nonlinearity and pooling; assumed is what v1's nnUNetTrainerV2 builds:"
    " instance normalisation (eps 1e-5), LeakyReLU (slope 0.01), strided convolutions, no dropout"
)
_ZERO_BIASES = "biases that v2 has and v1 has not (transposed convolutions, segmentation layers) are zeros"


def is_nnunet_v1(content: Mapping[str, Any]) -> bool:
    """Whether a loaded file holds a Generic_UNet of nnU-Net v1, by the names of its tensors.

    Args:
        content: Dictionary of a ``.model`` file (with ``state_dict``), or a bare state dict.
    """
    names = _state_dict(content)
    return all(any(name.startswith(f"{part}.") for name in names) for part in (ENCODER, DECODER))


def convert(content: Mapping[str, Any], file: Path) -> SourceModel:
    """Rename the tensors of a v1 model to those of the PlainConvUNet that computes the same.

    Args:
        content: What `is_nnunet_v1` recognises, on the CPU.
        file: Where it comes from, for errors and reports.

    Returns:
        Weights and architecture. Facts: ``num_input_channels``; ``epochs``, those finished, where the file tells;
        ``notes``, sentences on what was assumed, added or changed.

    Raises:
        CheckpointError: If tensors are missing, unknown or of a wrong shape, or if v2 has no such network.
    """
    tensors = _state_dict(content)
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise refusal(f"{name} is no tensor but of type {type(tensor).__name__}", file)
    structure = read_structure(tensors, file)
    kernels = _kernels(structure)
    weights = {
        place.name: tensors[name] if place.stage is None else _lengthen(tensors[name], kernels[place.stage])
        for name, place in places(structure).items()
    }
    for number, stage in enumerate(reversed(range(len(structure.decoder_blocks)))):
        like = weights[f"decoder.transpconvs.{number}.weight"]
        weights[f"decoder.transpconvs.{number}.bias"] = like.new_zeros(structure.features[stage])
        weights.setdefault(f"decoder.seg_layers.{number}.bias", like.new_zeros(structure.num_classes))
    facts: dict[str, Any] = {
        "num_input_channels": structure.num_input_channels,
        "notes": [_ASSUMED, _ZERO_BIASES, *_channel_notes(structure), *_kernel_notes(structure)],
    }
    facts["epochs"] = content.get("epoch")
    return SourceModel(KIND, file, weights, _architecture(structure), usable_facts(facts, file))


def _state_dict(content: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors by name; prefixes of wrappers are taken off if all names have them."""
    candidate = content.get("state_dict", content)
    if not isinstance(candidate, Mapping):
        return {}
    tensors = {str(name): tensor for name, tensor in candidate.items()}
    while tensors and (prefix := next((p for p in _WRAPPERS if all(n.startswith(p) for n in tensors)), None)):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _kernels(structure: GenericUNet) -> list[Sides]:
    """Per stage, the smallest kernel that holds those of the encoder and of the decoder."""
    beside = zip(structure.encoder_kernels, structure.decoder_kernels, strict=False)
    return [*(tuple(map(max, encoder, decoder)) for encoder, decoder in beside), structure.encoder_kernels[-1]]


def _lengthen(weight: torch.Tensor, kernel: Sides) -> torch.Tensor:
    """Put zeros around a kernel with odd sides; padded by half a kernel, it computes the same at any stride."""
    margins = [(new - old) // 2 for old, new in zip(weight.shape[2:], kernel, strict=True)]
    return pad(weight, [margin for margin in reversed(margins) for _ in range(2)]) if any(margins) else weight


def _architecture(structure: GenericUNet) -> dict[str, Any]:
    """The ``architecture`` entry of plans, as nnU-Net v2 writes it."""
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": len(structure.features),
            "features_per_stage": list(structure.features),
            "kernel_sizes": [list(kernel) for kernel in _kernels(structure)],
            "strides": [list(stride) for stride in structure.strides],
            "n_conv_per_stage": [len(blocks) for blocks in structure.encoder_blocks],
            "n_conv_per_stage_decoder": [len(blocks) for blocks in reversed(structure.decoder_blocks)],
            **default_layer_settings(len(structure.strides[0])),
        },
        "_kw_requires_import": list(IMPORTED),
    }


def _channel_notes(structure: GenericUNet) -> list[str]:
    channels = structure.num_input_channels
    if channels == 1:
        return []
    return [
        f"all {channels} input channels are taken for images: the file does not tell whether some are labels of a"
        " cascade's first stage"
    ]


def _kernel_notes(structure: GenericUNet) -> list[str]:
    notes = []
    for part, kernels in (("encoder", structure.encoder_kernels), ("decoder", structure.decoder_kernels)):
        for stage, (old, new) in enumerate(zip(kernels, _kernels(structure), strict=False)):
            if old != new:
                sides = " to ".join("x".join(map(str, kernel)) for kernel in (old, new))
                notes.append(f"{part} kernels beside stage {stage}: {sides} with zeros, the same function")
    return notes
