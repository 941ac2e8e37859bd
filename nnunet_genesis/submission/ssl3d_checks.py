"""What a submitted pretraining must be: ResEnc-L, one channel, OpenMind's patches, and a plan that leads to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis.facts_checks import crop_size
from nnunet_genesis.interop import nnssl
from nnunet_genesis.interop.layer_settings import IMPORTED
from nnunet_genesis.networks import build_network
from nnunet_genesis.transfer.names import ENCODER_PREFIX, first_convolutions, is_alias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.interop.source import SourceModel

PATCH_SIZE = (160, 160, 160)
"""OpenMind's preset."""
ARCHITECTURE: dict[str, Any] = {
    "network_class_name": f"dynamic_network_architectures.architectures.unet.{nnssl.RESENC_L_CLASS}",
    "arch_kwargs": nnssl.RESENC_L,
    "_kw_requires_import": list(IMPORTED),
}
"""ResEnc-L, as an ``architecture`` entry of plans."""
_SHOWN_NAMES = 3


def find_problems(
    source: SourceModel, names: Mapping[str, torch.Tensor], plan: Mapping[str, Any], *, any_patch: bool
) -> list[str]:
    """Tell what keeps a pretraining from being a submission.

    Args:
        source: What was read.
        names: The state dict as the file has it.
        plan: Its ``nnssl_adaptation_plan``.
        any_patch: Whether other patches than OpenMind's are fine.

    Returns:
        A sentence each, none where it fits.
    """
    problems = _architecture_problems(source.architecture)
    channels = sorted({int(source.weights[name].shape[1]) for name in first_convolutions(source.weights)})
    if channels != [1]:
        problems.append(f"its first convolution takes {_join(channels) or 'no'} channel(s), and it must be 1")
    # Shapes that follow from another architecture or other channels are told by it.
    if not problems:
        problems += _tensor_problems(source.weights)
    problems += _plan_problems(plan, names)
    patches = {"its patches": crop_size(source.facts) or source.facts.get("patch_size")}
    patches["its recommended_downstream_patchsize"] = plan.get("recommended_downstream_patchsize")
    for what, patch in patches.items():
        if patch is None or (tuple(patch) != PATCH_SIZE and not any_patch):
            problems.append(
                f"{what}: {_join(patch or ['not told'], ' x ')}, and OpenMind's preset is {_join(PATCH_SIZE, ' x ')}"
                + ("" if patch is None else " (--any-patch takes it as it is)")
            )
    return problems


def _architecture_problems(architecture: Mapping[str, Any] | None) -> list[str]:
    if architecture is None:
        return ["the file does not describe its architecture"]
    name = str(architecture["network_class_name"]).rsplit(".", 1)[-1]
    if name != nnssl.RESENC_L_CLASS:
        return [f"its network is a {name}, and ResEnc-L is a {nnssl.RESENC_L_CLASS}"]
    kwargs = architecture["arch_kwargs"]
    return [
        f"{key} is {_plain(kwargs.get(key))}, and ResEnc-L's {_plain(wanted)}"
        for key, wanted in nnssl.RESENC_L.items()
        if _plain(kwargs.get(key)) != _plain(wanted)
    ]


def _tensor_problems(weights: Mapping[str, torch.Tensor]) -> list[str]:
    with torch.device("meta"):
        network = build_network(ARCHITECTURE, 1, 1)
    wanted = {
        name: tensor.shape
        for name, tensor in network.state_dict().items()
        if name.startswith(ENCODER_PREFIX) and not is_alias(name)
    }
    own = {name: tensor.shape for name, tensor in weights.items() if name.startswith(ENCODER_PREFIX)}
    differing = [name for name in wanted if own.get(name) != wanted[name]]
    foreign = [name for name in own if name not in wanted]
    problems = []
    if differing:
        problems.append(
            f"{len(differing)} of {len(wanted)} tensors of the encoder are missing or of another shape, e.g."
            f" {_join(differing[:_SHOWN_NAMES])}"
        )
    if foreign:
        problems.append(f"{len(foreign)} tensors are in no ResEnc-L encoder, e.g. {_join(foreign[:_SHOWN_NAMES])}")
    return problems


def _plan_problems(plan: Mapping[str, Any], names: Mapping[str, torch.Tensor]) -> list[str]:
    problems = []
    if plan.get("pretrain_num_input_channels") != 1:
        problems.append(f"pretrain_num_input_channels is {plan.get('pretrain_num_input_channels')}, and it must be 1")
    for key in ("key_to_encoder", "key_to_stem"):
        prefix = plan.get(key)
        if not (isinstance(prefix, str) and any(name.startswith(f"{prefix}.") for name in names)):
            problems.append(f"{key} is {prefix!r}, and no tensor is under it")
    problems += [
        f"keys_to_in_proj has {name}, and there is no tensor {name}.weight"
        for name in plan.get("keys_to_in_proj") or ["(none)"]
        if f"{name}.weight" not in names
    ]
    if not isinstance(plan.get("pretrain_plan"), Mapping):
        problems.append("pretrain_plan is missing")
    return problems


def _plain(value: Any) -> Any:
    """Lists for tuples, so that both compare."""
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def _join(values: Sequence[Any], separator: str = ", ") -> str:
    return separator.join(map(str, values))
