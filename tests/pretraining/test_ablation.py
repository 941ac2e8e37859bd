"""The variants of our ablation of pretraining (benchmarks/pretraining_ablation.py)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from benchmarks.pretraining_ablation import VARIANTS
from nnunet_genesis.config import PretrainingConfig

USUAL = PretrainingConfig("models-genesis", batch_size=2, epochs=40)


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in settings.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


@pytest.mark.parametrize(
    ("variant", "changed"),
    [
        ("lr-0.0003", {"learning_rate": 3e-4}),
        ("lr-0.003", {"learning_rate": 3e-3}),
        ("quarter-length", {"epochs": 10}),
        ("double-length", {"epochs": 80}),
        (
            "half-distortions",
            {
                "models_genesis.shuffling_probability": 0.25,
                "models_genesis.intensity_probability": 0.45,
                "models_genesis.painting_probability": 0.45,
            },
        ),
    ],
)
def test_a_variant_changes_what_it_is_named_after_and_nothing_else(variant: str, changed: dict[str, Any]) -> None:
    usual, other = flat(asdict(USUAL)), flat(asdict(VARIANTS[variant](USUAL)))
    assert {name: value for name, value in other.items() if value != usual[name]} == changed


def test_every_variant_is_checked() -> None:
    assert set(VARIANTS) == {"lr-0.0003", "lr-0.003", "quarter-length", "double-length", "half-distortions"}
