"""The validation loss and its baselines are what they are called."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy.ndimage import gaussian_filter
from torch import nn

from nnunet_genesis.config import MaskedConfig, MaskedGenesisConfig, ModelsGenesisConfig
from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.pretraining.pretexts.masked import Masked
from nnunet_genesis.pretraining.pretexts.masked_genesis import MaskedGenesis
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from nnunet_genesis.pretraining.validation import Baselines, ValidationPairs, ValidationSource
from tests.indices import written_index
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_genesis.pretraining.data import Labels

PATCH = (8, 24, 24)
COUNT = 6


@pytest.fixture
def validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ValidationPairs:
    cases = smooth_cases(2, (6, 30, 30))  # thinner than the patch: padding must not count
    folder = write_dataset(tmp_path, cases, PATCH, monkeypatch)
    intensities = IntensityRange((-2.0,), (2.0,), (False,))
    pretext = ModelsGenesis(ModelsGenesisConfig(), PATCH, intensities)
    # Two sources, the second drawn from three times as often.
    sources = [
        ValidationSource(name, one_source(folder / "nnUNetPlans_cases", case), chance)
        for name, case, chance in (("ours", "case_000", 0.25), ("pool", "case_001", 0.75))
    ]
    return ValidationPairs(sources, pretext, seed=0, count=COUNT, fabric=Fabric(accelerator="cpu", devices=1))


def one_source(folder: Path, case: str) -> PatchDataset:
    return PatchDataset([written_index(folder, [case])], [1.0], PATCH, max_background_share=1.0, seed=(0, 5))


def plain_errors(
    validation: ValidationPairs, outputs: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
) -> dict[str, float]:
    errors: dict[str, list[float]] = {"ours": [], "pool": []}
    for name, output, pair in zip(validation.names, outputs, validation.pairs.values(), strict=True):
        counts = np.broadcast_to(pair.weight.numpy() > 0, output.shape)
        errors[name].append(float(np.mean((output - pair.target.numpy())[counts] ** 2)))
    return {name: float(np.mean(own)) for name, own in errors.items()}


def plain_error(validation: ValidationPairs, outputs: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> float:
    errors = plain_errors(validation, outputs)
    return 0.25 * errors["ours"] + 0.75 * errors["pool"]


def test_baselines_are_the_errors_of_input_blur_and_mean(validation: ValidationPairs) -> None:
    baselines = validation.baselines()
    pairs = list(validation.pairs.values())
    distorted = [pair.distorted.numpy() for pair in pairs]
    assert baselines.identity == pytest.approx(plain_error(validation, distorted), rel=1e-5)
    blurs = [
        plain_errors(validation, [gaussian_filter(image, (0, 0, sigma, sigma, sigma)) for image in distorted])
        for sigma in (0.5, 1, 2, 4)
    ]
    best = {name: min(blur[name] for blur in blurs) for name in ("ours", "pool")}
    assert {name: own.blurred for name, own in baselines.sources.items()} == pytest.approx(best, rel=1e-5)
    assert baselines.blurred == pytest.approx(0.25 * best["ours"] + 0.75 * best["pool"], rel=1e-5)
    means = [np.full_like(pair.target.numpy(), pair.target.numpy()[pair.weight.numpy() > 0].mean()) for pair in pairs]
    assert baselines.constant == pytest.approx(plain_error(validation, means), rel=1e-5)


def test_identity_network_scores_the_identity_baseline(validation: ValidationPairs) -> None:
    network = PretextNetwork(nn.Identity(), None)
    evaluation = validation.evaluate(network)
    losses = evaluation.restoration
    baselines = validation.baselines()
    assert losses == pytest.approx({name: own.identity for name, own in baselines.sources.items()}, rel=1e-5)
    assert evaluation.losses == pytest.approx({"restoration": baselines.identity}, rel=1e-5)
    assert evaluation.loss == pytest.approx(baselines.identity, rel=1e-5)
    assert losses["ours"] != pytest.approx(losses["pool"], rel=1e-2), "sources are told apart"
    assert network.training  # left in training mode


def test_contrast_is_the_restorations_deviation_over_its_targets(validation: ValidationPairs) -> None:
    expected = []
    for pair in validation.pairs.values():
        counts = pair.weight.numpy()[0, 0] > 0
        expected.append(pair.distorted.numpy()[0, 0][counts].std() / pair.target.numpy()[0, 0][counts].std())
    evaluation = validation.evaluate(PretextNetwork(nn.Identity(), None))
    assert evaluation.contrast == pytest.approx(np.mean(expected), rel=1e-5)
    assert set(evaluation.losses) == {"restoration"}
    constant = nn.Conv3d(1, 1, 1)
    nn.init.zeros_(constant.weight)
    assert validation.evaluate(PretextNetwork(constant, None)).contrast < 1e-6


@pytest.mark.parametrize("value", [0.0, 0.1, -1.2345, 2.7182])
def test_a_constant_target_has_no_contrast_and_hides_no_other(validation: ValidationPairs, value: float) -> None:
    pair = validation.pairs[0]
    others = validation.evaluate(PretextNetwork(nn.Identity(), None)).contrast
    pair.target.fill_(value)
    contrast = validation.evaluate(PretextNetwork(nn.Identity(), None)).contrast
    assert np.isfinite(contrast)
    assert contrast == pytest.approx(others, rel=0.5)


def test_baselines_are_read_as_a_checkpoint_holds_them(validation: ValidationPairs) -> None:
    baselines = validation.baselines()
    stored = asdict(baselines)
    assert Baselines.from_dict(stored) == baselines
    del stored["sources"]["pool"]["blurred"]
    assert Baselines.from_dict(stored) is None
    assert Baselines.from_dict({}) is None


def test_pairs_are_fixed_and_restored_one_by_one(validation: ValidationPairs) -> None:
    first = validation.pairs[0].distorted.clone()
    network = PretextNetwork(nn.Identity(), None)
    validation.evaluate(network)
    assert torch.equal(validation.pairs[0].distorted, first)
    restored = validation.restore(network, [3, 0])
    assert torch.equal(restored[1], first)
    assert validation.names == ["ours"] * COUNT + ["pool"] * COUNT, "a source has pairs enough to judge by"
    assert validation.label(0) == f"ours: {validation.labels[0]}"


def test_baselines_of_masked_pretexts_are_measured_where_their_losses_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On hidden voxels returning the input is returning 0; visible ones count with their weight, padding never."""
    folder = write_dataset(tmp_path, smooth_cases(1, (6, 30, 30)), PATCH, monkeypatch)
    intensities = IntensityRange((-2.0,), (2.0,), (False,))
    source = ValidationSource("ours", one_source(folder / "nnUNetPlans_cases", "case_000"), 1.0)
    block = (4, 8, 8)
    hiding = Masked(MaskedConfig(), PATCH, intensities, block)
    distorting = MaskedGenesis(MaskedGenesisConfig(visible_weight=0.25), PATCH, intensities, block)
    for pretext, visible_weight in ((hiding, 0.0), (distorting, 0.25)):
        fabric = Fabric(accelerator="cpu", devices=1)
        pairs = ValidationPairs([source], pretext, seed=0, count=COUNT, fabric=fabric)
        expected = []
        for pair in pairs.pairs.values():
            target, distorted = pair.target.numpy(), pair.distorted.numpy()
            weight = pair.weight.numpy()
            error = np.square(target[weight == 1]).mean()
            if visible_weight:
                visible = weight == np.float32(visible_weight)
                error += visible_weight * np.square(target - distorted)[visible].mean()
            expected.append(error)
        baselines = pairs.baselines()
        assert baselines.identity == pytest.approx(np.mean(expected), rel=1e-5)
        evaluation = pairs.evaluate(PretextNetwork(nn.Identity(), None))
        assert evaluation.loss == pytest.approx(baselines.identity, rel=1e-5)
        assert evaluation.losses.keys() == ({"masked", "visible"} if visible_weight else {"masked"})


class TellsOfPools(ModelsGenesis):
    """Scores patches of the second source alone: what the first one holds, there is nothing to ask about."""

    def head_scores(
        self, heads: nn.Module | None, outputs: Mapping[str, torch.Tensor], labels: Labels
    ) -> dict[str, torch.Tensor]:
        del heads, outputs
        return {"accuracy": torch.where(labels["source"] == 1, 1.0, torch.nan)}


def test_a_score_is_of_the_pairs_that_it_says_something_of(validation: ValidationPairs) -> None:
    pretext = TellsOfPools(ModelsGenesisConfig(), PATCH, IntensityRange((-2.0,), (2.0,), (False,)))
    validation.pretext = pretext
    network = PretextNetwork(nn.Identity(), None)
    assert validation.evaluate(network).scores == {}, "both sources say that they are the first one"
    for number, name in enumerate(validation.names):
        validation.patch_labels[number] = {"source": torch.tensor([int(name == "pool")])}
    assert validation.evaluate(network).scores == {"accuracy": 1.0}
    assert validation.num_distinct == 2 * COUNT
    assert validation.num_scored("accuracy") == COUNT


def test_patches_tell_the_number_of_their_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(tmp_path, smooth_cases(2, (8, 30, 30)), PATCH, monkeypatch) / "nnUNetPlans_cases"
    sources = [
        ValidationSource(name, one_source(folder, case), 0.5, number)
        for number, (name, case) in enumerate((("ours", "case_000"), ("pool", "case_001")))
    ]
    pretext = ModelsGenesis(ModelsGenesisConfig(), PATCH, IntensityRange((-2.0,), (2.0,), (False,)))
    pairs = ValidationPairs(sources, pretext, seed=0, count=4, fabric=Fabric(accelerator="cpu", devices=1))
    told = [int(pairs.patch_labels[number]["source"]) for number in range(len(pairs.names))]
    assert told == [{"ours": 0, "pool": 1}[name] for name in pairs.names]
