"""The pretrained encoder as a plain torch module, for classification, detection and whatever else needs features."""

from __future__ import annotations

import logging
import math
import shlex
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nnunet_genesis import encoder_file, hub
from nnunet_genesis.errors import CheckpointError, SetupError
from nnunet_genesis.facts_checks import crop_size
from nnunet_genesis.interop import open_source
from nnunet_genesis.networks import build_source_network, num_image_channels
from nnunet_genesis.transfer import load_weights
from nnunet_genesis.transfer.names import ENCODER_PREFIX, encoder_family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_genesis.interop.source import SourceModel

LOGGER = logging.getLogger("nnunet_genesis")
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


class PretrainedEncoder(nn.Module):
    """Feature maps of all stages, from the highest resolution to the lowest.

    Args:
        encoder: Encoder of one of nnU-Net's U-Nets, which returns the outputs of all its stages.
        in_channels: Input channels.
        description: What the file tells: ``patch_size``, ``spacing``, ``normalization_schemes``, ``channel_names``, ...

    Attributes:
        in_channels: Input channels.
        channels: Features of every stage.
        strides: Per stage and axis, input voxels per voxel of the feature map (cumulative).
        patch_size: Voxels per axis of the patches (Semantic Genesis: crops) it was trained on, or None where the file
            does not tell.
        spacing: Millimetres per axis that it was trained at, or None where the file does not tell.
        description: All that the file tells of these weights, in plain values.
    """

    def __init__(self, encoder: nn.Module, in_channels: int, description: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = encoder
        self.in_channels = in_channels
        self.channels: tuple[int, ...] = tuple(int(features) for features in _attribute(encoder, "output_channels"))
        steps = [tuple(int(step) for step in stride) for stride in _attribute(encoder, "strides")]
        self.strides: tuple[tuple[int, ...], ...] = tuple(
            accumulate(steps, lambda total, step: tuple(a * b for a, b in zip(total, step, strict=True)))
        )
        self.patch_size = _last_axes(description.get("patch_size"), len(steps[0]))
        self.spacing = _last_axes(description.get("spacing"), len(steps[0]))
        self.description = dict(description)
        names = (f"{ENCODER_PREFIX}{name}" for name, _ in encoder.named_parameters())
        self._sizes_must_divide = encoder_family(names) == "residual"
        # torch refuses to normalise an instance of one voxel: all that it holds would become 0.
        self._needs_two_cells = any(isinstance(layer, _INSTANCE_NORMS) for layer in encoder.modules())

    def fitting_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The size of an input that holds so many voxels and that the encoder takes.

        Args:
            size: Voxels per axis.

        Returns:
            Voxels per axis, the same where it takes them; for residual encoders multiples of the last stride; where one
            voxel would be left at the deepest stage, two along the axis that comes nearest to it.
        """
        strides = self.strides[-1]
        cells = [math.ceil(side / step) for side, step in zip(size, strides, strict=True)]
        if self._needs_two_cells and math.prod(cells) == 1:
            longest = max(range(len(cells)), key=lambda axis: size[axis] / strides[axis])
            cells[longest] = 2
            size = [*size[:longest], 2 * strides[longest], *size[longest + 1 :]]
        if self._sizes_must_divide:
            return tuple(count * step for count, step in zip(cells, strides, strict=True))
        return tuple(size)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute the feature maps of all stages.

        Args:
            x: (batch, in_channels, *spatial), normalised as in the pretraining (`description`). Residual encoders need
                spatial sizes that are multiples of the last stride; with instance norm, any encoder needs more than one
                voxel at its deepest stage. `fitting_size` gives such sizes.

        Returns:
            One (batch, channels[stage], *spatial divided by strides[stage], rounded up) tensor per stage.

        Raises:
            SetupError: If the input has another number of axes or channels, or a size that the encoder does not take.
        """
        if x.ndim != 2 + len(self.strides[0]) or x.shape[1] != self.in_channels:
            raise SetupError(
                f"the input has the shape {tuple(x.shape)}; needed is (batch, {self.in_channels} channels,"
                f" {len(self.strides[0])} spatial axes)",
                mend="load_encoder(FILE, in_channels=N) adapts the first convolution to N channels",
            )
        self._check_size(tuple(x.shape[2:]))
        features: list[torch.Tensor] = self.encoder(x)
        return features

    def _check_size(self, size: tuple[int, ...]) -> None:
        fitting = self.fitting_size(size)
        if fitting == size:
            return
        strides = self.strides[-1]
        problem = (
            f"is no multiple of {strides}, which this residual encoder needs"
            if self._sizes_must_divide and any(side % step for side, step in zip(size, strides, strict=True))
            else "leaves one voxel at the deepest stage, which instance norm cannot normalise; one axis must be longer"
            f" than its stride in {strides}"
        )
        raise SetupError(f"the input's spatial size {size} {problem}", mend=f"pad the input, for instance to {fitting}")


def load_encoder(file: str | Path, in_channels: int | None = None) -> PretrainedEncoder:
    """Load the encoder of a file that describes its architecture as a plain torch module.

    The module is not frozen and on the CPU. nnU-Net's encoders normalise every instance by itself, so that train and
    eval mode compute the same (unless the plans ask for dropout or batch norm). The weights fill all of the
    encoder; the global random generator is left as it was.

    Args:
        file: A checkpoint, an exported encoder (`export_encoder`), or ``hf://user/repo[/file][@revision]``; plain state
            dicts and models of nnU-Net before 2.4 do not tell their architecture.
        in_channels: Input channels; by default those of the file that are images. For others, the first convolution is
            adapted: where all channels are equal, the response stays that of the file.

    Raises:
        CheckpointError: If the file cannot be read, describes no architecture, or does not hold all of its encoder.
        TransferError: If the file holds no encoder of nnU-Net's U-Nets, or weights that are not finite.
        SetupError: If `in_channels` is not positive.
    """
    if in_channels is not None and in_channels < 1:
        raise SetupError(f"in_channels={in_channels}: at least 1 is needed")
    source = open_source(hub.resolve(file))
    held_channels = num_image_channels(source)
    wanted_channels = in_channels or held_channels
    network = build_source_network(source, wanted_channels, 1)
    report = load_weights(network, source, part="encoder", minimum_share=0.0)
    if report.unmatched:
        name, reason = next(iter(report.unmatched.items()))
        raise CheckpointError(
            f"{len(report.unmatched)} tensors of the encoder that the file describes are not in it; the first is"
            f" {name}: {reason}",
            where=source.file,
            mend="use a complete copy of the file",
        )
    if report.dropped:
        raise CheckpointError(
            f"the file holds {len(report.dropped)} tensors that the encoder it describes has no place for (the first is"
            f" {report.dropped[0]}): it is another network",
            where=source.file,
            mend="genesis inspect FILE shows both; its trainer may have built another network than its plans say",
        )
    LOGGER.info("encoder of %s: %s", source.file, report.summary_lines()[0])
    for name, rule in report.adapted.items():
        LOGGER.info("adapted: %s: %s", name, rule)
    return PretrainedEncoder(network.get_submodule("encoder"), wanted_channels, _describe(source))


def export_encoder(file: str | Path, out: Path) -> None:
    """Write the encoder of a file that `load_encoder` reads as safetensors, with its description in the metadata.

    Tensors have nnU-Net's names (``encoder.stages...``). The metadata holds one JSON text under
    ``nnunet_genesis_encoder``: architecture, channels, patch size, spacing, normalisation, and where the weights come
    from; no names of cases. `load_encoder` reads the file.

    Args:
        file: As in `load_encoder`.
        out: The new file; its name ends with ``.safetensors``.

    Raises:
        SetupError: If `out` exists, has another suffix, or its folder is missing.
        CheckpointError: As in `load_encoder`.
        TransferError: As in `load_encoder`.
    """
    if out.suffix != ".safetensors":
        raise SetupError(f"{out.name} does not end with .safetensors", mend=f"write to {out.stem}.safetensors")
    if out.exists():
        raise SetupError("the file exists; nothing was overwritten", where=out, mend="choose another name")
    if not out.parent.is_dir():
        raise SetupError("no such folder", where=out.parent, mend=f"mkdir -p {shlex.quote(str(out.parent))}")
    encoder = load_encoder(file)
    weights = dict([*encoder.named_parameters(), *encoder.named_buffers()])
    content = encoder_file.to_bytes(weights, encoder.description)
    with out.open("xb") as stream:
        try:
            stream.write(content)
        except BaseException:
            out.unlink()
            raise


def _describe(source: SourceModel) -> dict[str, Any]:
    """As `encoder_file.describe`, with the size that the weights learned from where that is not the plans' patch."""
    described = encoder_file.describe(source)
    learned = crop_size(source.facts)
    return described if learned is None else {**described, "patch_size": learned}


def _attribute(encoder: nn.Module, name: str) -> Sequence[Any]:
    value: Sequence[Any] = getattr(encoder, name)
    return value


def _last_axes(values: Sequence[float] | None, count: int) -> tuple[Any, ...] | None:
    """Two-dimensional plans hold three spacings."""
    return None if values is None else tuple(values)[-count:]
