"""The validation loss and its baselines are what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy.ndimage import gaussian_filter
from torch import nn

from nnunet_genesis.config import ModelsGenesisConfig
from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from nnunet_genesis.pretraining.validation import ValidationPairs
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from pathlib import Path

PATCH = (8, 24, 24)
COUNT = 6


@pytest.fixture
def validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ValidationPairs:
    cases = smooth_cases(2, (6, 30, 30))  # thinner than the patch: padding must not count
    folder = write_dataset(tmp_path, cases, PATCH, monkeypatch)
    intensities = IntensityRange((-2.0,), (2.0,), (False,))
    dataset = PatchDataset(
        folder / "nnUNetPlans_cases", sorted(cases), PATCH, intensities, max_background_share=1.0, seed=(0, 5)
    )
    pretext = ModelsGenesis(ModelsGenesisConfig(), PATCH, intensities)
    return ValidationPairs(dataset, pretext, seed=0, count=COUNT, fabric=Fabric(accelerator="cpu", devices=1))


def plain_error(validation: ValidationPairs, outputs: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> float:
    errors = []
    for output, pair in zip(outputs, validation.pairs.values(), strict=True):
        counts = np.broadcast_to(pair.weight.numpy() > 0, output.shape)
        errors.append(np.mean((output - pair.target.numpy())[counts] ** 2))
    return float(np.mean(errors))


def test_baselines_are_the_errors_of_input_blur_and_mean(validation: ValidationPairs) -> None:
    baselines = validation.baselines()
    pairs = list(validation.pairs.values())
    distorted = [pair.distorted.numpy() for pair in pairs]
    assert baselines.identity == pytest.approx(plain_error(validation, distorted), rel=1e-5)
    blurs = [
        plain_error(validation, [gaussian_filter(image, (0, 0, sigma, sigma, sigma)) for image in distorted])
        for sigma in (0.5, 1, 2, 4)
    ]
    assert baselines.blurred == pytest.approx(min(blurs), rel=1e-5)
    means = [np.full_like(pair.target.numpy(), pair.target.numpy()[pair.weight.numpy() > 0].mean()) for pair in pairs]
    assert baselines.constant == pytest.approx(plain_error(validation, means), rel=1e-5)


def test_identity_network_scores_the_identity_baseline(validation: ValidationPairs) -> None:
    network = nn.Identity()
    assert validation.evaluate(network) == pytest.approx(validation.baselines().identity, rel=1e-5)
    assert network.training  # left in training mode


def test_pairs_are_fixed_and_restored_one_by_one(validation: ValidationPairs) -> None:
    first = validation.pairs[0].distorted.clone()
    validation.evaluate(nn.Identity())
    assert torch.equal(validation.pairs[0].distorted, first)
    restored = validation.restore(nn.Identity(), [3, 0])
    assert torch.equal(restored[1], first)
    assert len(validation.labels) == COUNT
