"""Semantic Genesis: every crop is deformed and distorted once, its class is told by a head, and losses keep balance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from nnunet_genesis.config import PretrainingConfig, SemanticGenesisConfig
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.discovery.result import DiscoveredScan, Discovery, PseudoClass
from nnunet_genesis.pretraining.distortions.shuffling import apply_shuffling, longest_window
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.pretraining.pretexts import check_pretext
from nnunet_genesis.pretraining.pretexts.base import RestorationPairs
from nnunet_genesis.pretraining.pretexts.semantic_genesis import DISTORTIONS, MAX_WINDOW_VOXELS, SemanticGenesis
from tests.planned import MR, planned
from tests.pretraining.pretexts.devices import SIZES, generator, make_pairs_on_meta

if TYPE_CHECKING:
    from nnunet_genesis.plans import PlannedConfiguration

LOW, HIGH = -1.5, 2.5


def semantic(sides: tuple[int, ...], channels: int = 1, classes: int = 4, first: float = 0) -> SemanticGenesis:
    scan = DiscoveredScan("labelled", "case_000", ((0, 1), (0, 1), (0, 1)))
    found = tuple(PseudoClass(0, (0.0, 0.0, float(number)), (0,), (0,)) for number in range(classes))
    discovery = Discovery(found, (scan,), sides, (1.0,) * len(sides), {}, {})
    intensities = IntensityRange((LOW,) * channels, (HIGH,) * channels, (False,) * channels)
    return SemanticGenesis(SemanticGenesisConfig(classification_first=first), intensities, discovery)


def plans(sides: tuple[int, ...], **arguments: object) -> PlannedConfiguration:
    return replace(
        planned(MR), patch_size=sides, architecture={"arch_kwargs": {"features_per_stage": [4, 32], **arguments}}
    )


def test_plans_that_do_not_tell_what_a_head_needs_are_refused() -> None:
    with pytest.raises(SetupError, match="nnUNetPlans has no features per stage"):
        semantic((8, 8, 8)).build_heads(plans((8, 8, 8), features_per_stage=None))
    with pytest.raises(SetupError, match="nnUNetPlans has no strides"):
        check_pretext(PretrainingConfig("semantic-genesis", batch_size=2), plans((8, 8, 8)))
    check_pretext(PretrainingConfig("models-genesis", batch_size=2), plans((8, 8, 8)))


def batch(channels: int, sides: tuple[int, ...], size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    patches = 2 * torch.randn(size, channels, *sides, generator=generator(0))
    return patches, torch.tensor([[0, side] for side in sides]).expand(size, -1, -1)


def test_exactly_one_distortion_each_a_quarter_of_the_time_and_a_deformation_always() -> None:
    parameters = semantic((64, 64, 32)).sample(4000, generator(1))
    painted, outside = parameters.painting.applied, parameters.painting.outside
    happens = torch.stack(
        [parameters.shuffling.applied, parameters.intensity.applied, painted & ~outside, painted & outside]
    )
    assert (happens.sum(0) == 1).all()
    assert chisquare(happens.sum(1).numpy()).pvalue > 0.001
    assert parameters.elastic.applied.all()
    boxes = (parameters.painting.sizes.amin(-1) > 0).sum(1)
    assert (boxes == 1).all(), "one box, not up to five"


def test_the_configured_sizes_are_those_that_are_drawn() -> None:
    published = semantic((64, 64, 64))
    config = replace(published.config, elastic_alpha=991.0 / 2, elastic_sigma=4.0, shuffling_windows=10)
    other = SemanticGenesis(config, published.intensities, published.discovery)
    drawn, expected = (pretext.sample(4, generator(1)) for pretext in (other, published))
    assert drawn.elastic.sigmas.unique().tolist() == [4.0]
    torch.testing.assert_close(drawn.elastic.deviations, expected.elastic.deviations * 2**0.5)
    torch.testing.assert_close(drawn.shuffling.coverage, 2 * expected.shuffling.coverage)


def test_each_distortion_alone_is_what_its_name_says() -> None:
    pretext = semantic((32, 32, 32))
    words = {"shuffling": "shuffled", "in-painting": "in-painted", "out-painting": "out-painted"}
    separate = pretext.separate()
    assert [name.removeprefix("elastic deformation and ") for name in separate] == list(DISTORTIONS)
    for name, one in separate.items():
        described = one.describe(one.sample(8, generator(2)))
        word = words.get(name.removeprefix("elastic deformation and "))
        allowed = {f"deformed, {word}"} if word else {"deformed, inverted", "deformed, non-linear"}
        assert set(described) <= allowed, name
    assert "displaced by" in pretext.explain(pretext.sample(2, generator(2)), 0)[0]


@pytest.mark.parametrize("sides", [(64, 64, 64), (20, 96, 96), (12, 40, 40), (256, 256), (96, 768)])
def test_shuffling_moves_the_voxels_of_about_five_windows(sides: tuple[int, ...]) -> None:
    pretext = semantic(sides)
    crops = torch.arange(math.prod(sides), dtype=torch.float32).reshape(1, 1, *sides).expand(64, -1, *sides)
    shuffling = replace(pretext.sample(64, generator(4)).shuffling, applied=torch.ones(64, dtype=torch.bool))
    moved = (apply_shuffling(crops, shuffling) != crops).flatten(1).float().mean(1)
    windows = longest_window(sides, MAX_WINDOW_VOXELS)
    expected = 5 * math.prod((1 + longest) / 2 for longest in windows) / math.prod(sides)
    assert 0.75 * expected < float(moved.mean()) < 1.1 * expected  # in the smallest windows many voxels stay
    assert (moved > 0).float().mean() > 0.9, "hardly a crop without"
    assert moved.max() < 4 * expected


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_the_target_is_the_crop_as_it_was(channels: int, sides: tuple[int, ...]) -> None:
    pretext = semantic(sides, channels)
    patches, inside = batch(channels, sides)
    before = patches.clone()
    pairs = pretext.make_pairs(patches, inside, pretext.sample(6, generator(3)))
    assert torch.equal(pairs.target, before)
    assert torch.equal(patches, before)
    assert pairs.target.data_ptr() != patches.data_ptr()
    differs = (pairs.distorted != before).flatten(1).any(1)
    assert differs[pretext.sample(6, generator(3)).painting.applied].all()
    if min(sides[-2:]) >= 16:
        assert differs.all(), "every crop that can carry it is deformed"


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_the_same_seed_gives_the_same_pairs_however_the_batch_is_shared(channels: int, sides: tuple[int, ...]) -> None:
    pretext = semantic(sides, channels)
    patches, inside = batch(channels, sides)
    whole = pretext.make_pairs(patches, inside, pretext.sample(6, generator(4)))
    part = slice(2, 5)
    again = pretext.make_pairs(patches[part], inside[part], pretext.sample(6, generator(4)).select(part))
    assert torch.equal(again.distorted, whole.distorted[part])
    other = pretext.make_pairs(patches, inside, pretext.sample(6, generator(5)))
    assert not torch.equal(other.distorted, whole.distorted)


def test_padding_stays_and_does_not_count() -> None:
    pretext = semantic((16, 32, 32))
    patches, inside = batch(1, (16, 32, 32), size=2)
    inside = inside.clone()
    inside[:, 0, 1] = 10
    patches[:, :, 10:] = 0
    pairs = pretext.make_pairs(patches, inside, pretext.sample(2, generator(6)))
    assert (pairs.weight[:, :, :10] == 1).all()
    assert (pairs.weight[:, :, 10:] == 0).all()


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_no_value_is_read_back_from_the_device(channels: int, sides: tuple[int, ...]) -> None:
    pretext = semantic(sides, channels)
    patches, inside = batch(channels, sides)
    for seed in range(4):
        assert 0 < make_pairs_on_meta(pretext, patches, inside, seed) < 300


def test_the_balance_of_the_losses_is_the_published_one() -> None:
    """In [0, 1]: MSE + 0.01 CE. In normalised units both must be that, times one factor."""
    pretext = semantic((8, 8, 8), classes=3)
    width = HIGH - LOW
    unit_target, unit_restored = torch.rand(2, 2, 1, 8, 8, 8, generator=generator(7)).unbind()
    logits, labels = torch.randn(2, 3, generator=generator(8)), torch.tensor([2, 0])
    published = [mse_loss(unit_restored, unit_target), 0.01 * cross_entropy(logits, labels)]
    target = LOW + width * unit_target
    pairs = RestorationPairs(target, target, torch.ones(2, 1, 8, 8, 8))
    ours = [
        pretext.restoration_losses(LOW + width * unit_restored, pairs)["restoration"].mean(),
        pretext.head_losses(None, {"class": logits}, {"class": labels})["classification"].mean(),
    ]
    for mine, theirs in zip(ours, published, strict=True):
        torch.testing.assert_close(mine, width**2 * theirs)
    scores = pretext.head_scores(None, {"class": torch.eye(3)[:2]}, {"class": torch.tensor([0, 2])})
    assert scores["accuracy"].tolist() == [1.0, 0.0]
    assert pretext.chances == {"accuracy": pytest.approx(1 / 3)}
    assert pretext.minimum_validation_patches >= 3, "a crop of each class at least"
    intensities = IntensityRange((-1.0, 0.0), (1.0, 4.0), (False, False))  # ranges of 2 and 4, squared: 10 on average
    both = SemanticGenesis(pretext.config, intensities, pretext.discovery)
    assert both.classification_weight == pytest.approx(0.01 * 10)


class Toy(nn.Module):
    """An encoder of two stages and a decoder."""

    def __init__(self, num_axes: int) -> None:
        super().__init__()
        convolution = nn.Conv3d if num_axes == 3 else nn.Conv2d
        self.first, self.second = convolution(1, 4, 3, padding=1), convolution(4, 32, 3, padding=1, stride=2)
        self.decoder = Decoder(convolution(4, 1, 1))

    def encoder(self, patches: torch.Tensor) -> list[torch.Tensor]:
        first = self.first(patches)
        return [first, self.second(first)]


class Decoder(nn.Module):
    """Adds what the second stage says to the first one."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.last = last

    def forward(self, stages: list[torch.Tensor]) -> torch.Tensor:
        restored: torch.Tensor = self.last(stages[0]) + stages[1].mean()
        return restored


@pytest.mark.parametrize("sides", [(8, 16, 16), (32, 32)])
def test_the_head_classifies_and_stays_outside_of_the_network(sides: tuple[int, ...]) -> None:
    pretext = semantic(sides, classes=5)
    network = PretextNetwork(Toy(len(sides)), pretext.build_heads(plans(sides)))
    outputs = network(batch(1, sides, size=3)[0])
    assert outputs.restored.shape == (3, 1, *sides)
    assert outputs.heads["class"].shape == (3, 5)
    assert not any("head" in name for name in network.network.state_dict())


def test_a_network_without_an_encoder_is_refused() -> None:
    with pytest.raises(SetupError, match="Conv3d has no encoder and decoder"):
        PretextNetwork(nn.Conv3d(1, 1, 1), semantic((8, 8, 8)).build_heads(plans((8, 8, 8))))


def test_classification_alone_comes_first_if_asked_for() -> None:
    assert semantic((8, 8, 8)).loss_weights(0.0) == {}
    first = semantic((8, 8, 8), first=0.25)
    assert [first.loss_weights(progress) for progress in (0.0, 0.24, 0.25, 1.0)] == [
        {"restoration": 0.0}, {"restoration": 0.0}, {}, {},
    ]  # fmt: skip
    with pytest.raises(SetupError, match=r"--classification-first 1\.0"):
        semantic((8, 8, 8), first=1.0)


def test_other_classes_are_another_task() -> None:
    four, five = semantic((8, 8, 8)).settings(), semantic((8, 8, 8), classes=5).settings()
    assert four["discovered"] != five["discovered"]
    assert four == semantic((8, 8, 8)).settings()
