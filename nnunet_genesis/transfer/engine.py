"""Match the tensors of a file with those of a network, and put them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nnunet_genesis.errors import TransferError
from nnunet_genesis.transfer.names import (
    DECODER_PREFIX,
    ENCODER_PREFIX,
    encoder_family,
    first_convolutions,
    is_alias,
    is_convolution,
    is_convolution_within,
    is_head,
    is_statistic,
    name_in_source,
    num_stages,
)
from nnunet_genesis.transfer.report import TransferReport
from nnunet_genesis.transfer.rules import MisfitError, fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.interop.source import SourceModel

MINIMUM_SHARE = 0.9
"""Share of the encoder's parameters below which a transfer is an error unless the user allows it (ours)."""


def unwrap(network: nn.Module) -> nn.Module:
    """The network inside DistributedDataParallel and torch.compile wrappers."""
    if isinstance(network, nn.parallel.DistributedDataParallel):
        network = network.module
    original = getattr(network, "_orig_mod", network)
    return original if isinstance(original, nn.Module) else network


def load_weights(
    network: nn.Module,
    source: SourceModel,
    *,
    part: str = "encoder",
    image_channels: int | None = None,
    architecture: Mapping[str, Any] | None = None,
    allow_partial: bool = False,
    minimum_share: float = MINIMUM_SHARE,
) -> TransferReport:
    """Put the weights of a file into a network, in place; nothing is changed if that is refused.

    Args:
        network: Unwrapped nnU-Net network.
        source: The file.
        part: "encoder", or "full" for everything but the segmentation heads.
        image_channels: Input channels that are images; all by default. The others (previous stage of a cascade) start
            at zero, unless the file has as many images and as many others: then they are taken, and a note says so.
        architecture: The ``architecture`` entry of the network's plans, to report what tensors do not show.
        allow_partial: Take leading channels where widths differ, and accept less than `minimum_share`.
        minimum_share: Share of the encoder's parameters (and of a transferred decoder's) that must be filled.

    Raises:
        TransferError: If nothing fits, if the encoders are of different families, if too little fits, or if a tensor
            that fits is not finite.
    """
    values, report = plan_transfer(
        network,
        source,
        part=part,
        image_channels=image_channels,
        architecture=architecture,
        allow_partial=allow_partial,
    )
    refused = refusal(network, source, report, allow_partial=allow_partial, minimum_share=minimum_share)
    if refused is not None:
        raise refused
    with torch.no_grad():
        for tensor, new_values in values:
            tensor.copy_(new_values)
    return report


def refusal(
    network: nn.Module,
    source: SourceModel,
    report: TransferReport,
    *,
    allow_partial: bool = False,
    minimum_share: float = MINIMUM_SHARE,
) -> TransferError | None:
    """Why a planned transfer must not be done; None if it may. Arguments are those of `load_weights`."""
    nothing = not (report.loaded or report.adapted)
    if report.skipped and not allow_partial and minimum_share > 0:
        return TransferError(
            f"the file ({source.kind}) has {len(report.skipped)} convolutions in stages of the encoder where this"
            f" {type(network).__name__} has none (the first is {report.skipped[0]}): without them the layers"
            " behind compute something else; nothing was loaded",
            where=source.file,
            mend="use plans with as many convolutions or blocks per stage as the file (genesis inspect FILE), or accept"
            " less: export nnUNet_genesis_allow_partial=1",
        )
    first_is_random = not first_convolutions(dict(network.named_parameters())).isdisjoint(report.unmatched)
    too_little = first_is_random or report.encoder_share < minimum_share
    if not nothing and (allow_partial or not too_little):
        return _refuse_without_decoder(source, report, allow_partial=allow_partial, minimum_share=minimum_share)
    return TransferError(
        f"only {100 * report.encoder_share:.4g} % of the encoder of this {type(network).__name__} fits the file"
        f" ({source.kind}; at least {100 * minimum_share:.4g} % and its first layer are needed); nothing was loaded."
        " First mismatches:\n" + _first_lines(report.unmatched),
        where=source.file,
        mend="pretrain with the plans and the configuration that you train with: genesis-pretrain-nnunet DATASET -c"
        " CONFIGURATION -p PLANS; or take leading channels and accept less: export nnUNet_genesis_allow_partial=1",
    )


def _refuse_without_decoder(
    source: SourceModel, report: TransferReport, *, allow_partial: bool, minimum_share: float
) -> TransferError | None:
    """A training that is said to start from a decoder must do so."""
    share = report.decoder_share
    if report.part != "full" or (share > 0 and (allow_partial or share >= minimum_share)):
        return None
    problem = f"the decoder was to be loaded, too (_full), and the file ({source.kind}) fills {100 * share:.4g} % of it"
    alone = "load the encoder alone: the same trainer without _full"
    if share == 0:
        return TransferError(
            f"{problem}; nothing was loaded",
            where=source.file,
            mend=f"{alone}; or give a checkpoint with the whole network (exported encoders have no decoder)",
        )
    unmatched = {name: reason for name, reason in report.unmatched.items() if not name.startswith(ENCODER_PREFIX)}
    return TransferError(
        f"{problem} (at least {100 * minimum_share:.4g} % are needed); nothing was loaded. First mismatches:\n"
        + _first_lines(unmatched),
        where=source.file,
        mend=f"{alone}; or accept less: export nnUNet_genesis_allow_partial=1",
    )


def _first_lines(unmatched: Mapping[str, str]) -> str:
    return "\n".join(f"    {name}: {reason}" for name, reason in list(unmatched.items())[:5])


def plan_transfer(
    network: nn.Module,
    source: SourceModel,
    *,
    part: str = "encoder",
    image_channels: int | None = None,
    architecture: Mapping[str, Any] | None = None,
    allow_partial: bool = False,
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], TransferReport]:
    """Find out what a transfer would do, without doing it.

    Arguments are those of `load_weights`.

    Returns:
        Pairs of a tensor of the network and its new values, and the report.

    Raises:
        TransferError: If the network has no encoder, or one of another family than the file.
    """
    targets = dict([*network.named_parameters(), *network.named_buffers()])
    _check_families(network, targets, source)
    stages, source_stages = num_stages(targets), num_stages(source.weights)
    first, source_first = first_convolutions(targets), first_convolutions(source.weights)
    report = TransferReport(part=part, notes=_stride_notes(architecture, source))
    values: list[tuple[torch.Tensor, torch.Tensor]] = []
    used: set[str] = set()
    for name, tensor in targets.items():
        if not _belongs(name, part):
            report.left.append(name)
            _count(report, name, "left", tensor.numel())
            continue
        source_name = name_in_source(name, stages, source_stages)
        used.add(source_name)
        try:
            if name in first and name not in source_first:
                raise MisfitError("the first layer of the file is another one (a stem, or none)")
            fitted = fit(
                _find(source, source_name),
                tensor,
                is_convolution=is_convolution(name),
                image_channels=(image_channels or tensor.shape[1]) if name in first else None,
                source_image_channels=source.facts.get("num_input_channels"),
                # A decoder's convolution sees two runs of channels: leading ones would be of the wrong run.
                allow_partial=allow_partial and name.startswith(ENCODER_PREFIX),
            )
        except MisfitError as misfit:
            report.unmatched[name] = str(misfit)
            _count(report, name, "unmatched", tensor.numel())
            continue
        if name in first:
            report.notes.extend(_previous_stage_notes(source, source_name, image_channels, tensor.shape[1]))
        values.append((tensor, fitted.values))
        if fitted.rules:
            report.adapted[name] = "; ".join(fitted.rules)
        else:
            report.loaded.append(name)
        _count(report, name, "adapted" if fitted.rules else "loaded", tensor.numel() - fitted.num_random)
        _count(report, name, "unmatched", fitted.num_random)
    report.dropped.extend(
        name for name in source.weights if _belongs(name, part) and name not in used and not is_alias(name)
    )
    report.skipped.extend(name for name in report.dropped if is_convolution_within(name, stages))
    if any(is_statistic(name) for name in report.dropped):
        report.notes.append(
            "the file normalises by running statistics (batch normalisation), the network does not: features are others"
        )
    return values, report


def _find(source: SourceModel, name: str) -> torch.Tensor:
    if name not in source.weights:
        raise MisfitError("the file has no tensor for it")
    candidate = source.weights[name]
    if not torch.isfinite(candidate).all():
        raise TransferError(
            f"the tensor {name} holds NaN or infinite values: its training diverged, or the file is damaged",
            where=source.file,
            mend="use an earlier checkpoint of the same run",
        )
    return candidate


def _belongs(name: str, part: str) -> bool:
    return name.startswith(ENCODER_PREFIX) or (part == "full" and name.startswith(DECODER_PREFIX) and not is_head(name))


def _count(report: TransferReport, name: str, group: str, number: int) -> None:
    report.num_parameters[group] += number
    if name.startswith(ENCODER_PREFIX):
        report.encoder_parameters[group] += number


def _check_families(network: nn.Module, targets: Mapping[str, torch.Tensor], source: SourceModel) -> None:
    wanted, held = encoder_family(targets), encoder_family(source.weights)
    if wanted is None:
        raise TransferError(
            f"{type(network).__name__} has no encoder of nnU-Net's U-Nets to load weights into",
            where=source.file,
            mend="take plans of a U-Net; a file of the very same network is loaded whole by stock nnUNetv2_train"
            " -pretrained_weights FILE",
        )
    if held is None:
        raise TransferError(
            f"the file ({source.kind}) holds no encoder of nnU-Net's U-Nets; its tensors begin with"
            f" {', '.join(list(source.weights)[:3]) or 'nothing'}",
            where=source.file,
            mend="genesis inspect FILE shows what it is",
        )
    if wanted != held:
        raise TransferError(
            f"the file ({source.kind}) holds a {held} encoder of {num_stages(source.weights)} stages, and the network"
            f" ({type(network).__name__}) has a"
            f" {wanted} one: their layers do different jobs, and no tensor of one belongs into the other",
            where=source.file,
            mend="use plans with such an encoder: "
            + (
                "nnUNetv2_plan_experiment -d DATASET -pl nnUNetPlannerResEncL, then -p nnUNetResEncUNetLPlans"
                if held == "residual"
                else "nnUNetv2_plan_experiment -d DATASET (nnU-Net's default planner), then -p nnUNetPlans"
            ),
        )


def _previous_stage_notes(source: SourceModel, name: str, image_channels: int | None, inputs: int) -> list[str]:
    """Channels that no rule changes, as their numbers are the same; what they mean no tensor shows."""
    images = source.facts.get("num_input_channels")
    extra = inputs - (image_channels or inputs)
    if not extra or (images, source.weights[name].shape[1]) != (image_channels, inputs):
        return []
    return [
        f"{extra} channels of the previous stage are taken as they are in the file: right where its labels are this"
        " dataset's, in the same order"
    ]


def _stride_notes(architecture: Mapping[str, Any] | None, source: SourceModel) -> list[str]:
    """Stages whose strides differ: weights fit, but see structures of another size."""
    if architecture is None or source.architecture is None:
        return []
    ours, theirs = (_strides(one["arch_kwargs"].get("strides", ())) for one in (architecture, source.architecture))
    return [
        f"stage {stage}: stride {list(stride)} in the network, {list(other)} where the weights were trained"
        for stage, (stride, other) in enumerate(zip(ours, theirs, strict=False))
        if _along_axes(stride, len(other)) != _along_axes(other, len(stride))
    ]


def _strides(entries: Sequence[int | Sequence[int]]) -> list[tuple[int, ...]]:
    return [(entry,) if isinstance(entry, int) else tuple(entry) for entry in entries]


def _along_axes(stride: tuple[int, ...], num_axes: int) -> tuple[int, ...]:
    return stride * num_axes if len(stride) == 1 else stride  # one number is meant for all axes
