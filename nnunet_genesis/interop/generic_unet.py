"""Structure of nnU-Net v1's Generic_UNet, read from the names and shapes of its tensors.

Names (nnunet 1.7.1): ``conv_blocks_context.STAGE.blocks.N``; the lowest of these stages and all stages of
``conv_blocks_localization`` are two stacks instead (``STAGE.0.blocks.N`` and ``STAGE.1.blocks.0``). A block is ``conv``
and ``instnorm``. ``tu`` are the transposed convolutions, ``seg_outputs`` the segmentation layers. Everything but
``conv_blocks_context`` is numbered from the lowest resolution up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from nnunet_genesis.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    Sides = tuple[int, ...]

ENCODER, DECODER = "conv_blocks_context", "conv_blocks_localization"
_STAGE = re.compile(r"^(conv_blocks_context|conv_blocks_localization)\.(\d+)\.")
_BLOCK_OF_FIRST_STAGE = re.compile(r"^conv_blocks_context\.0\.blocks\.\d+\.conv\.weight$")


@dataclass(frozen=True)
class GenericUNet:
    """What names and shapes tell; stages count from the highest resolution, in encoder and decoder.

    Attributes:
        encoder_blocks: Per encoder stage, names of its convolution blocks in the order of computation.
        decoder_blocks: Per decoder stage, likewise; the lowest encoder stage has none beside it.
        encoder_kernels: Per encoder stage.
        decoder_kernels: Per decoder stage.
        strides: Per encoder stage, from the stage before; 1 for the first.
        features: Channels per encoder stage.
        num_input_channels: Channels of the image.
        num_classes: Channels of every segmentation layer.
        segmentation_bias: Whether these layers have a bias; only variants of v1's trainer gave them one.
    """

    encoder_blocks: list[list[str]]
    decoder_blocks: list[list[str]]
    encoder_kernels: list[Sides]
    decoder_kernels: list[Sides]
    strides: list[Sides]
    features: list[int]
    num_input_channels: int
    num_classes: int
    segmentation_bias: bool


class Place(NamedTuple):
    """Where a tensor of v1 goes.

    Attributes:
        name: In v2's PlainConvUNet.
        shape: In v1.
        stage: The stage whose kernel it has, for weights of convolution blocks; None for all others.
    """

    name: str
    shape: tuple[int, ...]
    stage: int | None = None


def read_structure(tensors: Mapping[str, torch.Tensor], file: Path) -> GenericUNet:
    """Read the structure and make sure that all tensors, and no others, have their place in it.

    Raises:
        CheckpointError: If tensors are missing, unknown or of a wrong shape, or if v2 has no such network.
    """
    stages = {(found[1], found[2]) for found in map(_STAGE.match, tensors) if found}
    lower = sum(part == DECODER for part, _ in stages)
    if not lower or len(stages) != 2 * lower + 1:
        raise refusal(f"{len(stages) - lower} encoder stages and {lower} decoder stages do not make a U-Net", file)
    if not any(name.startswith("tu.") for name in tensors):
        raise refusal("it has no transposed convolutions (tu.*), and v2's networks do not interpolate", file)
    if any(name.endswith(".running_mean") for name in tensors):
        raise refusal("it has batch normalisation (running_mean), v2's networks have instance normalisation", file)
    convs = max(1, sum(bool(_BLOCK_OF_FIRST_STAGE.match(name)) for name in tensors))
    encoder_blocks = [[f"{ENCODER}.{stage}.blocks.{index}" for index in range(convs)] for stage in range(lower)]
    encoder_blocks.append(_two_stacks(f"{ENCODER}.{lower}", convs))
    decoder_blocks = [_two_stacks(f"{DECODER}.{number}", convs) for number in reversed(range(lower))]
    encoder = [_shape(tensors, f"{blocks[0]}.conv.weight", file) for blocks in encoder_blocks]
    decoder = [_shape(tensors, f"{blocks[0]}.conv.weight", file) for blocks in decoder_blocks]
    upsampling = [_shape(tensors, f"tu.{lower - 1 - stage}.weight", file) for stage in range(lower)]
    if len({len(shape) for shape in (*encoder, *decoder, *upsampling)}) > 1:
        raise refusal("it mixes convolutions in 2D and 3D", file)
    others = {side for shape in (*encoder, *decoder) for side in shape[2:]} - {1, 3}
    if others:
        raise refusal(f"a kernel of length {min(others)}: v1 pads kernels of length 3 only, v2 pads all", file)
    structure = GenericUNet(
        encoder_blocks=encoder_blocks,
        decoder_blocks=decoder_blocks,
        encoder_kernels=[shape[2:] for shape in encoder],
        decoder_kernels=[shape[2:] for shape in decoder],
        strides=[(1,) * (len(encoder[0]) - 2), *(shape[2:] for shape in upsampling)],
        features=[shape[0] for shape in encoder],
        num_input_channels=encoder[0][1],
        num_classes=_shape(tensors, "seg_outputs.0.weight", file)[0],
        segmentation_bias="seg_outputs.0.bias" in tensors,
    )
    _check(tensors, places(structure), file)
    return structure


def places(structure: GenericUNet) -> dict[str, Place]:
    """Where each tensor that such a network has goes, by its name in v1."""
    features, lower = structure.features, len(structure.decoder_blocks)
    table: dict[str, Place] = {}

    def add_blocks(blocks: list[str], target: str, inputs: int, stage: int, kernel: Sides) -> None:
        width = features[stage]
        for index, block in enumerate(blocks):
            new, shape = f"{target}.convs.{index}", (width, width if index else inputs, *kernel)
            table[f"{block}.conv.weight"] = Place(f"{new}.conv.weight", shape, stage)
            table[f"{block}.conv.bias"] = Place(f"{new}.conv.bias", (width,))
            table[f"{block}.instnorm.weight"] = Place(f"{new}.norm.weight", (width,))
            table[f"{block}.instnorm.bias"] = Place(f"{new}.norm.bias", (width,))

    for stage, (blocks, kernel) in enumerate(zip(structure.encoder_blocks, structure.encoder_kernels, strict=True)):
        inputs = features[stage - 1] if stage else structure.num_input_channels
        add_blocks(blocks, f"encoder.stages.{stage}.0", inputs, stage, kernel)
    for stage, (blocks, kernel) in enumerate(zip(structure.decoder_blocks, structure.decoder_kernels, strict=True)):
        number, width = lower - 1 - stage, features[stage]
        add_blocks(blocks, f"decoder.stages.{number}", 2 * width, stage, kernel)
        upsampling = (features[stage + 1], width, *structure.strides[stage + 1])
        segmentation = (structure.num_classes, width, *(1 for _ in kernel))
        table[f"tu.{number}.weight"] = Place(f"decoder.transpconvs.{number}.weight", upsampling)
        table[f"seg_outputs.{number}.weight"] = Place(f"decoder.seg_layers.{number}.weight", segmentation)
        if structure.segmentation_bias:
            table[f"seg_outputs.{number}.bias"] = Place(f"decoder.seg_layers.{number}.bias", segmentation[:1])
    return table


def refusal(problem: str, file: Path) -> CheckpointError:
    """The error for a v1 model that has no equal in v2."""
    return CheckpointError(
        f"an nnU-Net v1 model that cannot be converted: {problem}",
        where=file,
        mend="use a model that v1's nnUNetTrainerV2 trained with its own Generic_UNet,"
        " or pretrain on your data: genesis-pretrain-nnunet DATASET",
    )


def _two_stacks(stage: str, convs: int) -> list[str]:
    """Names of the blocks of a stage of two stacks; where others have one convolution, it has two."""
    return [*(f"{stage}.0.blocks.{index}" for index in range(max(convs - 1, 1))), f"{stage}.1.blocks.0"]


def _shape(tensors: Mapping[str, torch.Tensor], name: str, file: Path) -> tuple[int, ...]:
    if name not in tensors:
        raise refusal(f"{name} is missing", file)
    shape = tuple(tensors[name].shape)
    if len(shape) not in (4, 5):
        raise refusal(f"{name} has the shape {shape}, which is no convolution in 2D or 3D", file)
    return shape


def _check(tensors: Mapping[str, torch.Tensor], table: Mapping[str, Place], file: Path) -> None:
    lists = {"missing": sorted(table.keys() - tensors.keys()), "unknown": sorted(tensors.keys() - table.keys())}
    if any(lists.values()):
        told = "; ".join(f"{what}: {_some(names)}" for what, names in lists.items() if names)
        raise refusal(f"its tensors are not those of a Generic_UNet ({told})", file)
    for name, place in table.items():
        shape = tuple(tensors[name].shape)
        if shape != place.shape:
            raise refusal(f"{name} has the shape {shape}, and by the tensors around it {place.shape} is needed", file)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
