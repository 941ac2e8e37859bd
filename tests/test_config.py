"""Values that cannot work are refused with the flag, the value and what can."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nnunet_genesis.config import (
    DiscoveryConfig,
    MaskedConfig,
    MaskedGenesisConfig,
    PretrainingConfig,
    SemanticGenesisConfig,
)
from nnunet_genesis.errors import CheckpointError, SetupError
from nnunet_genesis.pretraining.run_files import check_same_run, config_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEN = DiscoveryConfig(num_classes=10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pretext": "models-exodus"}, "--pretext models-exodus: unknown"),
        ({"optimizer": "adam"}, "--optimizer adam: unknown"),
        ({"precision": "8"}, "--precision 8: unknown"),
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"iterations_per_epoch": -1}, "--iterations-per-epoch -1: must be at least 1"),
        ({"batch_size": 0}, "--batch-size 0: must be at least 1"),
        ({"learning_rate": 0.0}, "--lr 0.0: must be positive"),
        ({"learning_rate": float("nan")}, "--lr nan: must be positive"),
        ({"learning_rate": float("inf")}, "--lr inf: must be positive and finite"),
        ({"weight_decay": float("inf")}, "weight_decay = inf, .*: must be finite"),
        ({"gradient_clip": 0.0}, "gradient_clip = 0.0, .*: must be finite and positive"),
        ({"val_pairs": 0}, "val_pairs = 0: must be finite and positive"),
        ({"max_background_share": -0.5}, "max_background_share = -0.5: must be between 0 and 1"),
        ({"seed": -1}, r"--seed -1: must be in \[0, 2\*\*32\)"),
        ({"val_fraction": 1.0}, "--val-fraction 1.0: must be between 0 and 1"),
    ],
)
def test_impossible_values_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SetupError, match=message):
        PretrainingConfig(**{"pretext": "models-genesis", "batch_size": 2, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "--classes 1: must be at least 2"),
        ({"neighbours": 1}, "neighbours = 1: must be at least 2"),
        ({"held_out_neighbours": 0}, "held_out_neighbours = 0: must be at least 1"),
        ({"min_distance": float("nan")}, "min_distance = nan: must not be negative"),
        ({"max_background_share": 1.5}, "max_background_share = 1.5: must be between 0 and 1"),
    ],
)
def test_impossible_discoveries_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(SetupError, match=message):
        DiscoveryConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SemanticGenesisConfig(classification_weight=-1), "--classification-weight -1: must be finite and not"),
        (lambda: SemanticGenesisConfig(classification_weight=float("inf")), "--classification-weight inf: must be"),
        (lambda: SemanticGenesisConfig(classification_weight=float("nan")), "--classification-weight nan: must be"),
        (lambda: MaskedConfig(mask_ratio=(0.9, 0.6)), "--mask-ratio 0.9 0.6: must be between 0 and 1"),
        (lambda: MaskedConfig(mask_ratio=(0.0, 0.6)), "--mask-ratio 0 0.6: must be"),
        (lambda: MaskedGenesisConfig(mask_ratio=(1.0, 1.0)), "--mask-ratio 1 1: must be"),
        (lambda: MaskedConfig(mask_ratio=(float("nan"), 0.6)), "--mask-ratio nan 0.6: must be"),
        (lambda: MaskedConfig(mask_block=(8, 0, 8)), "--mask-block 8 0 8: must be at least 1"),
        (lambda: MaskedConfig(mask_probability=2.0), "mask_probability = 2.0: must be between 0 and 1"),
        (lambda: MaskedGenesisConfig(visible_weight=1.0), "--visible-weight 1: must be at least 0 and below"),
        (lambda: MaskedGenesisConfig(visible_weight=-0.1), "--visible-weight -0.1: must be"),
        (lambda: MaskedGenesisConfig(shuffling_max_window_voxels=0), "--shuffling-window 0: must be at least 1"),
        (lambda: MaskedGenesisConfig(noise_max_deviation=1.5), "noise_max_deviation = 1.5: must be between 0 and 1"),
        (lambda: MaskedGenesisConfig(low_resolution_max_factor=0.5), "low_resolution_max_factor = 0.5: must be at lea"),
    ],
)
def test_impossible_masks_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SetupError, match=message):
        make()


def test_settings_of_an_earlier_version_are_completed_by_the_defaults(tmp_path: Path) -> None:
    config = PretrainingConfig("semantic-genesis", batch_size=3, semantic_genesis=SemanticGenesisConfig(discovery=TEN))
    stored = config.as_dict()
    assert PretrainingConfig.from_dict(stored) == config
    del stored["universal_model"], stored["masked"], stored["semantic_genesis"]["shuffling_windows"]
    assert PretrainingConfig.from_dict(stored) == config
    check_same_run(stored, config, tmp_path)
    with pytest.raises(SetupError, match="seed: 0 in the file, 1 now"):
        check_same_run(stored, replace(config, seed=1), tmp_path)


def test_settings_of_a_later_version_are_named() -> None:
    stored = PretrainingConfig("models-genesis", batch_size=3).as_dict()
    stored["models_genesis"]["swirling_probability"] = 0.5
    with pytest.raises(SetupError, match="settings that this version does not know: swirling_probability"):
        PretrainingConfig.from_dict(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masked": {"mask_ratio": [0.6]}}, r"mask_ratio = \(0.6,\): must be tuple\[float, float\]"),
        ({"masked": 5}, "masked = 5: must be MaskedConfig"),
        ({"epochs": "9"}, "epochs = '9': must be int"),
        ({"epochs": True}, "epochs = True: must be int"),
        ({"epochs": 10**5000}, r"epochs = \(int, too long .*\): must be int"),
        ({"exclude_fold": 0.5}, r"exclude_fold = 0.5: must be int \| None"),
        ({"pools": [1]}, r"pools = \(1,\): must be tuple"),
        ({"seed": None}, "seed = None: must be int"),
        ({1: 2}, "settings that this version does not know: 1"),
    ],
)
def test_settings_of_a_damaged_file_are_told_with_the_file(
    tmp_path: Path, change: dict[Any, Any], message: str
) -> None:
    stored = {**PretrainingConfig("models-genesis", batch_size=3).as_dict(), **change}
    with pytest.raises(CheckpointError, match=f"the settings in the file cannot be used: {message}") as raised:
        config_of({"genesis": {"config": stored}}, tmp_path)
    assert raised.value.where == tmp_path
    assert "start anew with --output" in str(raised.value.mend)


def test_settings_without_which_nothing_can_be_done_are_named_and_lists_stand_for_tuples() -> None:
    with pytest.raises(SetupError, match="settings that are missing: pretext, batch_size"):
        PretrainingConfig.from_dict({"epochs": 3})
    config = PretrainingConfig.from_dict({"pretext": "masked", "batch_size": 2, "masked": {"mask_ratio": [0.5, 0.6]}})
    assert config.masked == MaskedConfig(mask_ratio=(0.5, 0.6))
