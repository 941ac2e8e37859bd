"""Masked restoration and masked Genesis: what is hidden, what is judged, and what the gradient reaches."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from nnunet_genesis.config import MaskedConfig, MaskedGenesisConfig
from nnunet_genesis.errors import SetupError
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.distortions.intensity import (
    apply_intensity_curves,
    apply_intensity_curves_batched,
)
from nnunet_genesis.pretraining.distortions.low_resolution import apply_low_resolution
from nnunet_genesis.pretraining.distortions.mirroring import apply_mirroring
from nnunet_genesis.pretraining.distortions.noise import apply_noise
from nnunet_genesis.pretraining.distortions.shuffling import apply_shuffling, apply_shuffling_batched
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts.masked import Masked, find_block
from nnunet_genesis.pretraining.pretexts.masked_genesis import MaskedGenesis
from tests.preprocessed import DATASET, smooth_cases, write_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nnunet_genesis.pretraining.pretexts.base import Pretext, RestorationPairs

CPU = torch.device("cpu")
REAL_LIFE = [
    (1, (16, 256, 256), (4, 32, 32)),
    (1, (40, 56, 40), (8, 8, 8)),
    (4, (32, 32, 32), (8, 8, 8)),
    (2, (96, 80), (16, 16)),
    (1, (3, 5, 4), (1, 2, 2)),
    (2, (1, 32, 32), (1, 8, 8)),
]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def masked(sides: tuple[int, ...], channels: int, block: tuple[int, ...]) -> Masked:
    return Masked(MaskedConfig(), sides, unit_z(channels), block)


def masked_genesis(sides: tuple[int, ...], channels: int, block: tuple[int, ...]) -> MaskedGenesis:
    config = MaskedGenesisConfig(shuffling_probability=0.7, low_resolution_probability=0.6, noise_probability=0.6)
    return MaskedGenesis(config, sides, unit_z(channels), block)


def unit_z(channels: int) -> IntensityRange:
    """The range of z-scored data."""
    return IntensityRange((-1.5,) * channels, (3.0,) * channels, (False,) * channels)


KINDS = [masked, masked_genesis]


def batch(channels: int, sides: tuple[int, ...], size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches with padding on both sides of every axis of the first two samples, as far as it carries it."""
    inside = torch.tensor([[0, side] for side in sides]).repeat(size, 1, 1)
    inside[:2] += torch.tensor([[side // 5, -(side // 4)] for side in sides])
    patches = torch.zeros(size, channels, *sides)
    for patch, box in zip(patches, inside.tolist(), strict=True):
        part = (slice(None), *(slice(start, stop) for start, stop in box))
        patch[part] = torch.randn(patch[part].shape, generator=generator(0))
    return patches, inside


def scans(inside: torch.Tensor, mirrored: torch.Tensor, sides: tuple[int, ...]) -> torch.Tensor:
    """Where the mirrored patches hold a scan, (batch, 1, *sides) bool, in numpy's way."""
    voxels = np.zeros((len(inside), *sides), dtype=bool)
    for sample, box in enumerate(inside.tolist()):
        voxels[sample][tuple(slice(start, stop) for start, stop in box)] = True
        voxels[sample] = np.flip(voxels[sample], tuple(mirrored[sample].nonzero()[:, 0].tolist()))
    return torch.from_numpy(voxels)[:, None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "sides", "block"), REAL_LIFE)
def test_hidden_blocks_are_constant_and_count_and_padding_never_does(
    kind: Callable[..., Pretext[Any]], channels: int, sides: tuple[int, ...], block: tuple[int, ...]
) -> None:
    patches, inside = batch(channels, sides)
    before = patches.clone()
    task = kind(sides, channels, block)
    parameters = task.sample(4, generator(1))
    pairs = task.make_pairs(patches, inside, parameters)
    drawn = getattr(parameters, "masked", parameters)
    assert torch.equal(patches, before)
    assert torch.equal(pairs.target, apply_mirroring(patches, drawn.mirroring)), "the target is never distorted"
    scan = scans(inside, drawn.mirroring.mirrored, sides)
    visible_weight = float(np.float32(0.15)) if kind is masked_genesis else 0.0
    assert set(pairs.weight.unique().tolist()) <= {0.0, visible_weight, 1.0}
    assert (pairs.weight[~scan] == 0).all()
    hidden = pairs.weight == 1
    assert (pairs.weight[scan & ~hidden] == visible_weight).all()
    assert (pairs.distorted[hidden.expand_as(patches)] == 0).all(), "the mean of z-scored data"
    ranges = [range(0, side, edge) for side, edge in zip(sides, block, strict=True)]
    for sample in range(4):
        touched = counted = 0
        for starts in itertools.product(*ranges):
            box = tuple(slice(start, start + edge) for start, edge in zip(starts, block, strict=True))
            own_scan, own_hidden = scan[sample, 0][box], hidden[sample, 0][box]
            counted += int(own_scan.any())
            touched += int(own_hidden.any())
            assert torch.equal(own_hidden, own_scan & own_hidden.any()), "all of a block's scan, or nothing of it"
        share = float(drawn.masking.ratios[sample])
        assert touched == max(1, min(round(share * counted), counted - 1))
    if kind is masked:
        seen = scan & ~hidden
        assert torch.equal(pairs.distorted * seen, pairs.target * seen), "what is visible is as it was"


@pytest.mark.parametrize(("channels", "sides", "block"), REAL_LIFE)
def test_only_hidden_voxels_get_a_gradient(channels: int, sides: tuple[int, ...], block: tuple[int, ...]) -> None:
    patches, inside = batch(channels, sides)
    task = masked(sides, channels, block)
    pairs = task.make_pairs(patches, inside, task.sample(4, generator(2)))
    restored = torch.full_like(patches, 0.37).requires_grad_()
    losses = task.restoration_losses(restored, pairs)
    assert list(losses) == ["masked"]
    (gradient,) = torch.autograd.grad(losses["masked"].sum(), restored)
    reached = gradient != 0
    assert torch.equal(reached, ((pairs.weight > 0) & (pairs.target != restored)).expand_as(reached))
    assert not reached[(pairs.distorted == pairs.target) & (pairs.target != 0)].any(), "visible"


def test_the_loss_is_the_error_on_hidden_voxels_plus_the_weighted_one_on_visible_voxels() -> None:
    """Means over their own voxels, by numpy; the gradient per voxel follows from it."""
    patches, inside = batch(2, (24, 32, 16))
    task = masked_genesis((24, 32, 16), 2, (8, 8, 8))
    parameters = task.sample(4, generator(3))
    pairs = task.make_pairs(patches, inside, parameters)
    restored = torch.randn(patches.shape, generator=generator(4)).requires_grad_()
    losses = task.restoration_losses(restored, pairs)
    scan = scans(inside, parameters.masked.mirroring.mirrored, (24, 32, 16)).numpy()
    hidden = (pairs.weight == 1).numpy()
    for sample in range(4):
        squared = np.square(restored.detach().numpy()[sample] - pairs.target.numpy()[sample])
        on_hidden = squared[:, hidden[sample, 0]].mean()
        on_visible = squared[:, (scan & ~hidden)[sample, 0]].mean()
        assert losses["masked"][sample].item() == pytest.approx(on_hidden, rel=1e-5)
        assert losses["visible"][sample].item() == pytest.approx(0.15 * on_visible, rel=1e-5)
    (gradient,) = torch.autograd.grad(losses["masked"][0] + losses["visible"][0], restored)
    assert (gradient[0][(pairs.weight[0] == 0).expand(2, -1, -1, -1)] == 0).all()
    assert (gradient[1:] == 0).all()
    alone = MaskedGenesis(replace(task.config, visible_weight=0), task.patch_size, task.intensities, (8, 8, 8))
    assert list(alone.restoration_losses(restored, alone.make_pairs(patches, inside, parameters))) == ["masked"]


@pytest.mark.parametrize(("channels", "sides", "block"), REAL_LIFE)
def test_pairs_are_the_distortions_one_after_the_other_and_at_once(
    channels: int, sides: tuple[int, ...], block: tuple[int, ...]
) -> None:
    """By hand, with the operations of processors and with those of accelerators."""
    patches, inside = batch(channels, sides)
    task = masked_genesis(sides, channels, block)
    parameters = task.sample(4, generator(5))
    pairs = task.make_pairs(patches, inside, parameters, random_device=CPU)
    hidden = (pairs.weight == 1) | (pairs.distorted == 0).all(1, keepdim=True)
    target = apply_mirroring(patches, parameters.masked.mirroring)
    for shuffle, curve in (
        (apply_shuffling, apply_intensity_curves),
        (apply_shuffling_batched, apply_intensity_curves_batched),
    ):
        visible = curve(shuffle(target, parameters.shuffling), parameters.intensity, task.intensities)
        visible = apply_noise(
            apply_low_resolution(visible, parameters.low_resolution), parameters.noise, task.intensities
        )
        difference = (pairs.distorted - visible).abs().masked_fill(hidden.expand_as(visible), 0)
        assert difference.max() < 5e-5
    assert (~hidden).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "sides", "block"), REAL_LIFE)
def test_no_value_is_read_back_from_the_device(
    kind: Callable[..., Pretext[Any]], channels: int, sides: tuple[int, ...], block: tuple[int, ...]
) -> None:
    patches, inside = batch(channels, sides)
    task = kind(sides, channels, block)
    for seed in range(3):
        parameters = task.sample(4, generator(seed))
        pairs = task.make_pairs(patches.to("meta"), inside, parameters, random_device=CPU)
        assert {part.device.type for part in (pairs.distorted, pairs.target, pairs.weight)} == {"meta"}
        losses = task.restoration_losses(pairs.distorted, pairs)
        assert {loss.shape for loss in losses.values()} == {(4,)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_parts_of_a_batch_agree_and_memory_is_used_again(kind: Callable[..., Pretext[Any]]) -> None:
    patches, inside = batch(2, (24, 32, 16), size=6)
    task = kind((24, 32, 16), 2, (8, 8, 8))

    def make(seed: int, part: slice = slice(None), out: RestorationPairs | None = None) -> RestorationPairs:
        drawn = task.sample(6, generator(seed)).select(part)
        return task.make_pairs(patches[part], inside[part], drawn, out=out)

    first, other = make(6), make(7)
    expected = [part.clone() for part in (first.distorted, first.target, first.weight)]
    assert not torch.equal(first.weight, other.weight)
    for pairs in (make(6), make(6, out=other)):
        for part, wanted in zip((pairs.distorted, pairs.target, pairs.weight), expected, strict=True):
            assert torch.equal(part, wanted)
    assert pairs.distorted.data_ptr() == other.distorted.data_ptr()
    half = make(6, slice(3, 6))
    for part, wanted in zip((half.distorted, half.target, half.weight), expected, strict=True):
        assert torch.equal(part, wanted[3:])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "sides", "block"), REAL_LIFE)
def test_cuda_gives_the_pairs_of_the_cpu(
    kind: Callable[..., Pretext[Any]], channels: int, sides: tuple[int, ...], block: tuple[int, ...]
) -> None:
    patches, inside = batch(channels, sides)
    task = kind(sides, channels, block)
    parameters = task.sample(4, generator(8))
    expected = task.make_pairs(patches, inside, parameters)
    pairs = task.make_pairs(patches.cuda(), inside, parameters, random_device=CPU)
    torch.testing.assert_close(pairs.distorted.cpu(), expected.distorted, rtol=0, atol=5e-5)
    assert torch.equal(pairs.target.cpu(), expected.target)
    assert torch.equal(pairs.weight.cpu(), expected.weight)


def test_every_distortion_is_named_and_can_be_drawn_alone() -> None:
    patches, inside = batch(1, (40, 56, 40))
    task = masked_genesis((40, 56, 40), 1, (8, 8, 8))
    words = {word for label in task.describe(task.sample(60, generator(9))) for word in label.split(", ")[1:]}
    assert words == {"shuffled", "inverted", "non-linear", "coarse", "noisy"}
    expected = {
        "mirroring": "mirrored",
        "masking": "blocks masked, 8 x 8 x 8 voxels each",
        "shuffling": "shuffled",
        "non-linear intensity": "intensity curve",
        "low resolution": "resolution of",
        "noise": "noise of",
    }
    assert task.separate().keys() == expected.keys()
    for name, alone in task.separate().items():
        parameters = alone.sample(4, generator(10))
        lines = [alone.explain(parameters, sample) for sample in range(4)]
        assert all(len(line) == 1 for line in lines)
        assert any(expected[name] in line[0] for line in lines)
        pairs = alone.make_pairs(patches, inside, parameters)
        assert bool((pairs.weight == 1).any()) == (name == "masking")
    hiding = masked((40, 56, 40), 1, (8, 8, 8))
    assert hiding.separate().keys() == {"mirroring", "masking"}
    assert hiding.describe(hiding.sample(1, generator(11)))[0].startswith("masked ")


def test_the_configured_shares_probabilities_and_sizes_are_those_that_are_drawn() -> None:
    sides, block = (40, 56, 40), (8, 8, 8)
    for config in (MaskedConfig(mask_ratio=(0.2, 0.3)), MaskedGenesisConfig(mask_ratio=(0.2, 0.3))):
        drawn = Masked(config, sides, unit_z(1), block).sample(500, generator(12))
        assert 0.2 <= drawn.masking.ratios.min() < 0.22
        assert 0.28 < drawn.masking.ratios.max() <= 0.3
    told = MaskedGenesisConfig(
        mirror_probability=0, low_resolution_max_factor=5, noise_max_deviation=0.4, shuffling_coverage=0.25
    )
    parameters = MaskedGenesis(told, sides, unit_z(1), block).sample(500, generator(13))
    assert parameters.low_resolution.sizes.amin(0).tolist() == [8, 11, 8]
    assert 0.35 < parameters.noise.deviations.max() <= 0.4
    assert set(parameters.shuffling.coverage.tolist()) == {0.25}
    assert not parameters.masked.mirroring.mirrored.any()


def test_blocks_are_cells_of_the_deepest_stage_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The strides of the plans, and the shape of what the encoder really makes of a patch."""
    write_dataset(tmp_path, smooth_cases(2, (8, 32, 32)), (8, 32, 32), monkeypatch)
    planned = load_planned_configuration(DATASET)
    block = find_block(MaskedConfig(), planned)
    network = planned.build_restoration_network()
    deepest = network.get_submodule("encoder")(torch.zeros(1, 1, 8, 32, 32))[-1]
    assert block == tuple(side // cell for side, cell in zip((8, 32, 32), deepest.shape[2:], strict=True))
    assert find_block(MaskedConfig(mask_block=(4,)), planned) == (4, 4, 4)
    assert find_block(MaskedConfig(mask_block=(2, 4, 8)), planned) == (2, 4, 8)
    with pytest.raises(SetupError, match="--mask-block 2 4: 3d_fullres has 3 axes"):
        find_block(MaskedConfig(mask_block=(2, 4)), planned)
    without = replace(planned, architecture={"arch_kwargs": {}})
    with pytest.raises(SetupError, match="has no strides, which this pretext needs"):
        find_block(MaskedConfig(), without)
    with pytest.raises(SetupError, match="one block of 8 x 32 x 64 voxels covers the patch of 8 x 32 x 32") as caught:
        find_block(MaskedConfig(mask_block=(8, 32, 64)), planned)
    assert caught.value.mend == "--mask-block 2 8 8"
