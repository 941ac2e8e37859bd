"""Read pretraining checkpoints of nnssl, among them those of OpenMind.

Such a file tells by ``nnssl_adaptation_plan`` where its encoder is (``key_to_encoder``: the stages, as in
``encoder.stages`` or ``online_encoder.stages``) and where its stem is (``key_to_stem``: inside the encoder, or a module
of its own).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.facts_checks import usable_facts
from nnunet_genesis.interop.layer_settings import IMPORTED, default_layer_settings
from nnunet_genesis.interop.names import find_state_dict, tidy, unwrapped_name
from nnunet_genesis.interop.source import SourceModel

if TYPE_CHECKING:
    from pathlib import Path

    import torch

KIND = "nnssl pretraining"
CITATION = "Wald et al., An OpenMind for 3D medical vision self-supervised learning, arXiv 2412.17041"
_MODULE = "dynamic_network_architectures.architectures.unet."
RESENC_L_CLASS = "ResidualEncoderUNet"
RESENC_L: dict[str, Any] = {
    "n_stages": 6,
    "features_per_stage": [32, 64, 128, 256, 320, 320],
    "kernel_sizes": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1], *[[2, 2, 2]] * 5],
    "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
    "n_conv_per_stage_decoder": [1] * 5,
    **default_layer_settings(3),
}
"""What nnssl builds under the name ResEncL, which its files do not describe further (Wald et al., arXiv 2410.23132)."""


def is_nnssl(content: Mapping[str, Any]) -> bool:
    """Whether a loaded file is a pretraining checkpoint of nnssl."""
    return "network_weights" in content and isinstance(content.get("nnssl_adaptation_plan"), Mapping)


def convert(content: Mapping[str, Any], file: Path) -> SourceModel:
    """Take a checkpoint of nnssl apart: its convolutional encoder, and its decoder where it has one.

    Raises:
        CheckpointError: If it holds a transformer, if its encoder is not where the file says, or if its weights are not
            finite.
    """
    plan = content["nnssl_adaptation_plan"]
    described = _mapping(plan.get("architecture_plans"))
    class_name = str(described.get("arch_class_name", "")).rsplit(".", 1)[-1]
    if class_name.startswith("Primus"):
        raise CheckpointError(
            f"the file holds a transformer ({class_name}), and nnU-Net's plans build convolutional U-Nets: no tensor of"
            " one belongs into the other",
            where=file,
            mend="use a ResEnc-L or PlainConvUNet checkpoint of nnssl, e.g. the ResEncL ones of OpenMind",
        )
    weights = _under_our_names(find_state_dict(content, file), plan, file)
    pretrained = _mapping(plan.get("pretrain_plan"))
    configurations = _mapping(pretrained.get("configurations"))
    name = next(iter(configurations), "")
    configuration = _mapping(configurations.get(name))
    facts = {
        "dataset": pretrained.get("dataset_name"),
        "plans": pretrained.get("plans_name"),
        "configuration": name or None,
        "patch_size": configuration.get("patch_size") or plan.get("recommended_downstream_patchsize"),
        "spacing": configuration.get("spacing"),
        "normalization_schemes": configuration.get("normalization_schemes"),
        "num_input_channels": plan.get("pretrain_num_input_channels"),
        # Not "trainer": that is one of segmentations, who has seen labels.
        "method": content.get("trainer_name"),
        "epochs": content.get("current_epoch"),
        "citations": [CITATION],
    }
    architecture = usable_facts(
        {"architecture": _architecture(class_name, _mapping(described.get("arch_kwargs")))}, file
    ).get("architecture")
    if architecture is None:
        facts["notes"] = [f"the file does not describe its architecture ({class_name or 'unnamed'})"]
    return SourceModel(KIND, file, tidy(weights, file), architecture, usable_facts(facts, file))


def _under_our_names(
    weights: Mapping[str, torch.Tensor], plan: Mapping[str, Any], file: Path
) -> dict[str, torch.Tensor]:
    """Rename encoder and stem to ``encoder.*``; keep the decoder; drop heads and teachers of the pretraining."""
    weights = {unwrapped_name(name): tensor for name, tensor in weights.items()}
    stages = str(plan.get("key_to_encoder") or "encoder.stages")
    stem = str(plan.get("key_to_stem") or "encoder.stem")
    # A file of the encoder alone has no prefix, whatever its plan says of the network that it was part of.
    if not _any_under(weights, stages) and _any_under(weights, "stages"):
        stages, stem = "stages", "stem"
    if not _any_under(weights, stages):
        raise CheckpointError(
            f"the file says that its encoder is under {stages!r}, but no tensor is; its tensors begin with"
            f" {', '.join(list(weights)[:3])}",
            where=file,
            mend="correct key_to_encoder in the file's nnssl_adaptation_plan, or use another checkpoint",
        )
    root = stages.removesuffix("stages") if stages.rsplit(".", 1)[-1] == "stages" else f"{stages}."
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(f"{stem}.") and not (root and name.startswith(root)):
            renamed[f"encoder.stem.{name[len(stem) + 1 :]}"] = tensor
        elif name.startswith(root) and (root or name.startswith("stages.")):
            renamed[f"encoder.{name[len(root) :]}"] = tensor
        elif name.startswith("decoder.") and not name.startswith("decoder.encoder."):
            renamed[name] = tensor
    return renamed


def _any_under(weights: Mapping[str, torch.Tensor], key: str) -> bool:
    return any(name.startswith(f"{key}.") for name in weights)


def _architecture(class_name: str, arch_kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    if class_name == "ResEncL" and not arch_kwargs:
        class_name, arch_kwargs = RESENC_L_CLASS, RESENC_L
    if class_name not in ("ResidualEncoderUNet", "PlainConvUNet") or not arch_kwargs:
        return None
    kwargs = dict(arch_kwargs)
    if class_name == "PlainConvUNet" and "n_conv_per_stage" not in kwargs:
        # nnssl describes both families by one dataclass, which knows only this name.
        kwargs["n_conv_per_stage"] = kwargs.pop("n_blocks_per_stage", None)
    return {
        "network_class_name": _MODULE + class_name,
        "arch_kwargs": kwargs,
        "_kw_requires_import": [key for key in IMPORTED if key in kwargs],
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
