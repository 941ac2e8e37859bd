"""What a file of weights is, and what of it would fit the networks of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import GenesisError, SetupError, printable
from nnunet_genesis.planned_networks import list_planned_networks
from nnunet_genesis.trainers.differences import find_differences
from nnunet_genesis.trainers.initial_weights import told_minimum_share
from nnunet_genesis.transfer import plan_transfer, refusal

if TYPE_CHECKING:
    from nnunet_genesis.interop.source import SourceModel
    from nnunet_genesis.planned_networks import PlannedNetwork
    from nnunet_genesis.transfer import TransferReport

_FACTS = {
    "method": "pretext",
    "pretext_settings": "its settings",
    "dataset": "dataset",
    "plans": "plans",
    "configuration": "configuration",
    "trainer": "trainer",
    "patch_size": "patch, voxels",
    "spacing": "spacing, mm",
    "channel_names": "channels",
    "num_input_channels": "input channels",
    "normalization_schemes": "normalisation",
    "num_cases": "cases",
    "epochs": "epochs",
    "package_versions": "written by",
    "citations": "cite",
    "notes": "notes",
    "converted": "converted",
}


def describe_source(source: SourceModel) -> list[str]:
    """All that a file tells of itself, a line each, as a terminal can show it."""
    unique = {id(tensor): tensor for tensor in source.weights.values()}
    parameters = sum(tensor.numel() for tensor in unique.values())
    lines = [f"{source.file}", f"format: {source.kind}, {len(unique)} tensors, {parameters / 1e6:.2f} M parameters"]
    if source.architecture is None:
        lines.append("architecture: the file does not tell")
    else:
        lines += _describe_architecture(source.architecture)
    lines += [f"{label}: {_text(source.facts[name])}" for name, label in _FACTS.items() if source.facts.get(name)]
    lines += _describe_divergence(source.facts.get("divergence") or {})
    lines += [
        f"learned from: {entry['name']} ({entry['kind']}), {entry['num_cases']} cases, {100 * entry['chance']:.0f} % of"
        " the patches"
        for entry in source.facts.get("sources") or ()
    ]
    return [printable(line) for line in lines]


def describe_transfer(
    source: SourceModel,
    dataset: str,
    plans_name: str,
    configuration: str,
    *,
    part: str = "encoder",
    allow_partial: bool = False,
) -> list[str]:
    """What loading the file into one network of a dataset would do, and what it would do into the others.

    Args:
        source: The file.
        dataset: Name or id of a dataset with plans.
        plans_name: nnU-Net plans identifier.
        configuration: nnU-Net configuration.
        part: "encoder", or "full" for everything but the segmentation heads.
        allow_partial: As `nnUNet_genesis_allow_partial`: leading channels where widths differ.

    Returns:
        The report of the transfer, then a table of all plans and configurations.

    Raises:
        SetupError: If there is no such network.
    """
    networks = list_planned_networks(dataset, plans_name)
    wanted = next((one for one in networks if (one.plans_name, one.configuration) == (plans_name, configuration)), None)
    if wanted is None:
        there = "\n".join(f"    -p {one.plans_name} -c {one.configuration}" for one in networks)
        raise SetupError(
            f"{dataset} has no configuration {configuration} in {plans_name}; it has:\n{there}",
            mend="-p and -c of these",
        )
    lines: list[str] = []
    table = ["", f"{'share of the encoder':>22}  plans and configuration"]
    for one in networks:
        report, refused = try_transfer(source, one, part, allow_partial)
        share = "refused" if report is None else f"{100 * report.encoder_share:.4g} %"
        table.append(f"{share:>22}  -p {one.plans_name} -c {one.configuration}")
        if one is wanted:
            lines += [] if report is None else [*report.summary_lines(), *_compare_facts(source, wanted)]
            lines += [] if refused is None else [f"nnUNetTrainerGenesis would refuse this: {refused}"]
    return [printable(line) for line in lines + table]


def try_transfer(
    source: SourceModel, planned: PlannedNetwork, part: str, allow_partial: bool
) -> tuple[TransferReport | None, GenesisError | None]:
    """Plan a transfer, and judge it as the trainer would: by the same variable, too.

    Returns:
        The report, if there is one, and the refusal, if it is refused.

    Raises:
        SetupError: If `nnUNet_genesis_minimum_share` is no share.
    """
    minimum_share = told_minimum_share()
    try:
        network = planned.build()
        _, report = plan_transfer(
            network,
            source,
            part=part,
            image_channels=planned.image_channels,
            architecture=planned.architecture,
            allow_partial=allow_partial,
        )
    except GenesisError as error:
        return None, error
    return report, refusal(network, source, report, allow_partial=allow_partial, minimum_share=minimum_share)


def _describe_architecture(architecture: Any) -> list[str]:
    arguments = architecture.get("arch_kwargs")
    if not isinstance(arguments, Mapping):
        return ["architecture: the file's description of it is incomplete"]
    name = str(architecture.get("network_class_name", "unknown")).rsplit(".", 1)[-1]

    def told(key: str) -> str:
        return _text(arguments.get(key, "unknown"))

    blocks = arguments.get("n_blocks_per_stage", arguments.get("n_conv_per_stage"))
    return [
        f"architecture: {name}, {told('n_stages')} stages, features {told('features_per_stage')}",
        f"per stage: {_text(blocks)} blocks, kernels {told('kernel_sizes')}, strides {told('strides')}",
    ]


def _describe_divergence(divergence: Mapping[str, Any]) -> list[str]:
    """What went wrong while a file of ours was trained."""
    skipped = divergence.get("skipped_steps", 0)
    return [
        *([f"skipped steps: {skipped} (loss or gradients not finite, or exploding)"] if skipped else []),
        *(
            f"diverged at step {back['step']}: went back to the weights of step {back['to_step']}, with a lower"
            " learning rate"
            for back in divergence.get("went_back", ())
        ),
    ]


def _compare_facts(source: SourceModel, planned: PlannedNetwork) -> list[str]:
    """Differences in what the images are, which no tensor shows, as the trainer tells them."""
    differences = find_differences(
        source.facts,
        spacing=planned.spacing,
        normalization_schemes=planned.normalization_schemes,
        channel_names=planned.channel_names,
        foreground_intensities=planned.foreground_intensities,
    )
    return [f"note: {difference}" for difference in differences]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_text(entry)})" if isinstance(entry, dict) else f"{key} {_text(entry) or 'none'}"
            for key, entry in value.items()
        )
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(entry, (list, tuple)) for entry in value)
        separator = "/" if all(isinstance(entry, int) for entry in value) else ", "
        return (
            " ".join("x".join(map(str, e)) if isinstance(e, (list, tuple)) else str(e) for e in value)
            if nested
            else (separator.join(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in value))
        )
    return str(value)
