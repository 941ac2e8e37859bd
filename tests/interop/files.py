"""Files as others write them, and files that lie about themselves, made in a test's folder."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tests.transfer.networks import build, describe

if TYPE_CHECKING:
    from pathlib import Path

PLAIN, RESIDUAL = describe(), describe(residual=True)


def plain_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """State dict of a small PlainConvUNet, with its aliases."""
    return dict(build(seed=seed).state_dict())


def residual_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """State dict of a small ResidualEncoderUNet, with its aliases."""
    return dict(build(seed=seed, residual=True).state_dict())


def nnunet_v2_content(
    weights: dict[str, torch.Tensor] | None = None, architecture: dict[str, Any] = PLAIN
) -> dict[str, Any]:
    """The dictionary that a trainer of nnU-Net v2 saves, numpy scalars and device included."""
    weights = weights or plain_weights()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(3))], 0.01, momentum=0.99, nesterov=True)
    return {
        "network_weights": weights,
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float32(0.25)],
            "ema_fg_dice": [np.float64(0.5)],
            "dice_per_class_or_region": [[np.float32(0.25), np.float16(0.125)]],
            "lrs": [0.01, np.int64(-3), np.bool_(True)],
        },
        "_best_ema": np.float64(0.5),
        "current_epoch": 7,
        "init_args": {
            "plans": {
                "dataset_name": "Dataset004_Hippocampus",
                "plans_name": "nnUNetPlans",
                "configurations": {
                    "3d_fullres": {
                        "patch_size": [40, 56, 40],
                        "spacing": [1.0, 1.0, 1.0],
                        "normalization_schemes": ["ZScoreNormalization"],
                        "architecture": architecture,
                    },
                    "3d_small": {"inherits_from": "3d_fullres", "patch_size": [16, 16, 16]},
                },
            },
            "configuration": "3d_fullres",
            "fold": 0,
            "dataset_json": {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "anterior": 1}},
            "device": torch.device("cuda"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


def adaptation_plan(class_name: str = "ResidualEncoderUNet", arch_kwargs: Any = None, **keys: Any) -> dict[str, Any]:
    """What nnssl writes beside the weights."""
    return {
        "architecture_plans": {
            "arch_class_name": class_name,
            "arch_kwargs": arch_kwargs,
            "arch_kwargs_requiring_import": ["conv_op", "norm_op", "nonlin"] if arch_kwargs else None,
        },
        "pretrain_plan": {
            "dataset_name": "Dataset745_OpenMind",
            "plans_name": "nnsslPlans",
            "configurations": {
                "onemmiso": {
                    "patch_size": [160, 160, 160],
                    "spacing": [1, 1, 1],
                    "normalization_schemes": ["ZScoreNormalization"],
                }
            },
        },
        "pretrain_num_input_channels": 1,
        "recommended_downstream_patchsize": (160, 160, 160),
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ("encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"),
        "key_to_lpe": None,
        **keys,
    }


def without_aliases(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every tensor once, under its plain name."""
    return {
        name: tensor
        for name, tensor in weights.items()
        if "all_modules" not in name and not name.startswith("decoder.encoder.")
    }


def edit_pickle(file: Path, old: bytes, new: bytes) -> None:
    """Replace bytes in the pickle of an archive of torch; all else stays."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            is_pickle = name.endswith("data.pkl")
            if is_pickle and old not in content:
                raise ValueError(f"the pickle does not hold {old!r}")
            archive.writestr(name, content.replace(old, new) if is_pickle else content)
