"""Files of weights in the formats of others, written from a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nnunet_genesis import checkpoint
from tests.interop.files import adaptation_plan, nnunet_v2_content

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

_V1_PARTS = {"conv": "conv", "norm": "instnorm"}


def write_genesis(file: Path, network: nn.Module, architecture: dict[str, Any]) -> None:
    """A pretraining checkpoint of ours."""
    genesis = {
        "format_version": checkpoint.FORMAT_VERSION,
        "pretext": "models-genesis",
        "pretext_settings": {
            "found": {"classes": 44, "features": None},
            "ratio": (0.6, 0.9),
            "block": (),
            "side": [8, 4],
        },
        "dataset": "Dataset777_Written",
        "plans": "nnUNetPlans",
        "configuration": "3d_fullres",
        "patch_size": [32, 32, 32],
        "spacing": [1.0, 1.0, 1.0],
        "num_cases": 2,
        "cases": {"case_000": "0" * 64, "case_001": "1" * 64},
        "validation_cases": {"case_002": "2" * 64},
        "epochs": 3,
        "architecture": architecture,
        "package_versions": {"torch": "2.0"},
        "citations": ["Zhou et al., arXiv 1908.06912"],
    }
    checkpoint.write(file, {"network_weights": network.state_dict(), "genesis": genesis})


def write_nnunet_v2(file: Path, network: nn.Module, architecture: dict[str, Any]) -> None:
    """What `nnUNetTrainer.save_checkpoint` writes."""
    torch.save(nnunet_v2_content(network.state_dict(), architecture), file)


def write_nnssl(file: Path, network: nn.Module, architecture: dict[str, Any]) -> None:
    """A pretraining of nnssl, with its adaptation plan."""
    name = architecture["network_class_name"].rsplit(".", 1)[-1]
    stem = "encoder.stem" if "Residual" in name else "encoder.stages.0.0"
    weights = network.state_dict()
    plan = adaptation_plan(
        name,
        architecture["arch_kwargs"],
        pretrain_num_input_channels=weights[f"{stem}.convs.0.conv.weight"].shape[1],
        key_to_stem=stem,
        keys_to_in_proj=(f"{stem}.convs.0.conv", f"{stem}.convs.0.all_modules.0"),
    )
    torch.save({"network_weights": weights, "nnssl_adaptation_plan": plan}, file)


def write_nnunet_v1(file: Path, network: nn.Module, _: dict[str, Any]) -> None:
    """A ``.model`` of nnU-Net v1's Generic_UNet that computes the same encoder."""
    weights = dict(network.named_parameters())
    last = {part: _count(weights, f"{part}.stages") - 1 for part in ("encoder", "decoder")}
    tensors = {}
    for name, tensor in weights.items():
        words = name.split(".")
        if name.startswith(("decoder.transpconvs.", "decoder.seg_layers.")):
            if words[-1] == "weight":
                tensors[f"{'tu' if 'transp' in name else 'seg_outputs'}.{words[2]}.weight"] = tensor.detach()
            continue
        part, stage, conv = words[0], int(words[2]), int(words[words.index("convs") + 1])
        rest = f"{_V1_PARTS[words[-2]]}.{words[-1]}"
        if part == "encoder" and stage < last["encoder"]:
            tensors[f"conv_blocks_context.{stage}.blocks.{conv}.{rest}"] = tensor.detach()
            continue
        convs = _count(weights, f"{name.split('.convs.')[0]}.convs")
        place = f"1.blocks.0.{rest}" if conv == convs - 1 else f"0.blocks.{conv}.{rest}"
        v1_part = "conv_blocks_context" if part == "encoder" else "conv_blocks_localization"
        tensors[f"{v1_part}.{stage}.{place}"] = tensor.detach()
    torch.save({"epoch": 1000, "state_dict": tensors, "plot_stuff": ([0.1], [np.float64(0.2)])}, file)


def write_wrapped_state_dict(file: Path, network: nn.Module, _: dict[str, Any]) -> None:
    """Weights as DistributedDataParallel around torch.compile names them, under ``state_dict``."""
    torch.save({"state_dict": {f"module._orig_mod.{name}": t for name, t in network.state_dict().items()}}, file)


def _count(weights: dict[str, Any], prefix: str) -> int:
    """How many numbers follow a prefix."""
    return len({name.removeprefix(f"{prefix}.").split(".")[0] for name in weights if name.startswith(f"{prefix}.")})
