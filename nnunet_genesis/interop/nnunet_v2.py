"""Read checkpoints that nnU-Net v2 wrote while training a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.facts_checks import usable_facts
from nnunet_genesis.interop.names import find_state_dict, tidy
from nnunet_genesis.interop.source import SourceModel

if TYPE_CHECKING:
    from pathlib import Path

KIND = "nnU-Net v2 model"
_INTENSITIES_UNTIL_2_1 = "foreground_intensity_properties_by_modality"
CITATION = "Isensee et al., nnU-Net, Nature Methods 18, 2021"


def is_nnunet_v2(content: Mapping[str, Any]) -> bool:
    """Whether a loaded file is a checkpoint of an nnU-Net v2 trainer."""
    return "network_weights" in content and isinstance(content.get("init_args"), Mapping) and "trainer_name" in content


def convert(content: Mapping[str, Any], file: Path) -> SourceModel:
    """Take a checkpoint of nnU-Net v2 apart; the architecture comes from the plans inside it.

    Plans of nnU-Net before 2.4 name no architecture: then it is None, and ``facts["notes"]`` says so.

    Raises:
        CheckpointError: If the weights are not finite, or the plans inherit from themselves.
    """
    arguments = content["init_args"]
    plans, dataset = _mapping(arguments.get("plans")), _mapping(arguments.get("dataset_json"))
    name = arguments.get("configuration")
    configuration = resolve_configuration(_mapping(plans.get("configurations")), name, file)
    channels = _mapping(dataset.get("channel_names", dataset.get("modality")))
    intensities = _mapping(
        plans.get("foreground_intensity_properties_per_channel") or plans.get(_INTENSITIES_UNTIL_2_1)
    )
    facts = {
        "dataset": plans.get("dataset_name"),
        "plans": plans.get("plans_name"),
        "configuration": name,
        "patch_size": configuration.get("patch_size"),
        "spacing": configuration.get("spacing"),
        "normalization_schemes": configuration.get("normalization_schemes"),
        "channel_names": [str(channels[key]) for key in sorted(channels, key=_channel_order)] or None,
        "num_input_channels": len(channels) or None,
        "foreground_intensities": [intensities[key] for key in sorted(intensities, key=_channel_order)] or None,
        "trainer": content.get("trainer_name"),
        "epochs": content.get("current_epoch"),
        "citations": [CITATION],
    }
    architecture = usable_facts({"architecture": configuration.get("architecture")}, file).get("architecture")
    if architecture is None:
        facts["notes"] = ["the plans inside the file name no architecture (nnU-Net before 2.4 wrote none)"]
    weights = tidy(find_state_dict(content, file), file)
    if architecture is not None and any(name.endswith(".running_mean") for name in weights):
        norm = str(_mapping(architecture.get("arch_kwargs")).get("norm_op"))
        if "BatchNorm" not in norm:
            architecture = None
            facts["notes"] = [f"its trainer built batch normalisation, its plans name {norm.rsplit('.', 1)[-1]}"]
    return SourceModel(
        KIND,
        file,
        weights,
        architecture,
        usable_facts(facts, file),
    )


def resolve_configuration(configurations: Mapping[str, Any], name: Any, file: Path) -> dict[str, Any]:
    """One configuration of plans, with what it takes over from others by ``inherits_from``.

    Raises:
        CheckpointError: If the configurations inherit in a circle.
    """
    chain: list[Mapping[str, Any]] = []
    visited: list[str] = []
    while isinstance(name, str) and name in configurations:
        if name in visited:
            raise CheckpointError(
                f"the plans inside the file inherit in a circle: {' -> '.join([*visited, name])}",
                where=file,
                mend="use another checkpoint of the same model",
            )
        visited.append(name)
        chain.append(_mapping(configurations[name]))
        name = chain[-1].get("inherits_from")
    resolved: dict[str, Any] = {}
    for configuration in reversed(chain):
        resolved.update(configuration)
    return resolved


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _channel_order(key: Any) -> tuple[int, str]:
    return (int(key), "") if str(key).isdecimal() else (0, str(key))
