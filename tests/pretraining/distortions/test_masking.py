"""Block masks: how many blocks, which voxels, and padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from nnunet_genesis.pretraining.distortions.masking import (
    blocks_per_axis,
    fill_masked,
    fill_values,
    masked_blocks,
    masked_voxels,
    sample_masking,
)
from nnunet_genesis.pretraining.intensities import IntensityRange

CASES = [
    ((40, 56, 40), (8, 8, 8)),
    ((16, 256, 256), (4, 32, 32)),
    ((32, 48), (8, 16)),
    ((3, 5, 4), (1, 2, 2)),
    ((20, 33, 18), (8, 16, 4)),
    ((1, 32, 32), (1, 8, 8)),
]
CPU = torch.device("cpu")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whole(batch_size: int, sides: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor([[0, side] for side in sides]).expand(batch_size, -1, -1)


def plain_blocks(sides: tuple[int, ...], block: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Number and voxels of every block, by plain loops."""
    ranges = [range(0, side, edge) for side, edge in zip(sides, block, strict=True)]
    return [
        (
            tuple(start // edge for start, edge in zip(starts, block, strict=True)),
            tuple(slice(start, start + edge) for start, edge in zip(starts, block, strict=True)),
        )
        for starts in itertools.product(*ranges)
    ]


@pytest.mark.parametrize(("sides", "block"), CASES)
@pytest.mark.parametrize("ratio", [0.6, 0.75, 0.9])
def test_exactly_the_asked_share_of_whole_blocks_is_hidden(
    sides: tuple[int, ...], block: tuple[int, ...], ratio: float
) -> None:
    parameters = sample_masking(8, sides, block, generator(0), ratio=(ratio, ratio))
    voxels = masked_voxels(masked_blocks(parameters, whole(8, sides), sides, block), sides, block, CPU)
    assert voxels.shape == (8, 1, *sides)
    blocks = plain_blocks(sides, block)
    assert blocks_per_axis(sides, block) == tuple(1 + last for last in blocks[-1][0])
    for sample in voxels[:, 0]:
        shares = [float(sample[box].float().mean()) for _, box in blocks]
        assert set(shares) <= {0.0, 1.0}, "a block is hidden as a whole or not at all"
        assert sum(shares) == min(round(ratio * len(blocks)), len(blocks) - 1)
    assert len({tuple(sample.flatten().tolist()) for sample in voxels}) > 1


@pytest.mark.parametrize(("sides", "block"), CASES)
def test_blocks_in_padding_are_neither_hidden_nor_counted(sides: tuple[int, ...], block: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    starts = [rng.integers(0, (side + 1) // 2) for side in sides]
    inside = torch.tensor([[start, rng.integers(start, side) + 1] for start, side in zip(starts, sides, strict=True)])
    scan = torch.zeros(sides, dtype=torch.bool)
    scan[tuple(slice(start, stop) for start, stop in inside.tolist())] = True
    counted = {number for number, box in plain_blocks(sides, block) if scan[box].any()}
    parameters = sample_masking(6, sides, block, generator(2), ratio=(0.7, 0.7))
    hidden = masked_blocks(parameters, inside.expand(6, -1, -1), sides, block)
    for sample in hidden:
        numbers = {tuple(number) for number in sample.nonzero().tolist()}
        assert numbers <= counted
        assert len(numbers) == max(1, min(round(0.7 * len(counted)), len(counted) - 1))


def test_something_is_hidden_and_something_stays_visible() -> None:
    """Two blocks, whatever the ratio: one of each."""
    for ratio in (0.01, 0.99):
        parameters = sample_masking(20, (8, 4), (4, 4), generator(3), ratio=(ratio, ratio))
        assert (masked_blocks(parameters, whole(20, (8, 4)), (8, 4), (4, 4)).flatten(1).sum(1) == 1).all()


def test_ratios_are_uniform_between_their_limits_and_every_block_is_hidden_alike() -> None:
    sides, block = (32, 32, 32), (8, 8, 8)
    parameters = sample_masking(4000, sides, block, generator(4), ratio=(0.6, 0.9))
    assert stats.kstest(parameters.ratios.numpy(), stats.uniform(0.6, 0.3).cdf).pvalue > 1e-3
    per_block = masked_blocks(parameters, whole(4000, sides), sides, block).float().mean(0)
    assert per_block.mean().item() == pytest.approx(0.75, abs=0.01)
    assert (per_block - 0.75).abs().max() < 5 * (0.75 * 0.25 / 4000) ** 0.5


def test_ties_of_the_order_do_not_change_the_number() -> None:
    parameters = sample_masking(3, (16, 16), (2, 2), generator(5), ratio=(0.75, 0.75))
    parameters.order.fill_(0.5)
    assert masked_blocks(parameters, whole(3, (16, 16)), (16, 16), (2, 2)).flatten(1).sum(1).tolist() == [48] * 3


def test_samples_without_a_mask_stay_visible() -> None:
    parameters = sample_masking(50, (16, 16), (4, 4), generator(6), ratio=(0.6, 0.9), probability=0.5)
    hidden = masked_blocks(parameters, whole(50, (16, 16)), (16, 16), (4, 4)).flatten(1).any(1)
    assert torch.equal(hidden, parameters.applied)
    assert 10 < hidden.sum() < 40
    texts = {parameters.explain(sample).split(" ", 1)[-1] for sample in range(50)}
    assert texts == {"masked", "% of 4 x 4 blocks masked"}


def test_the_same_seed_hides_the_same_blocks_in_a_part_of_the_batch_too() -> None:
    sides, block = (40, 56, 40), (8, 8, 8)
    inside = whole(6, sides)
    first, again, other = (sample_masking(6, sides, block, generator(seed), ratio=(0.6, 0.9)) for seed in (7, 7, 8))
    hidden = masked_blocks(first, inside, sides, block)
    assert torch.equal(hidden, masked_blocks(again, inside, sides, block))
    assert not torch.equal(hidden, masked_blocks(other, inside, sides, block))
    assert torch.equal(masked_blocks(first.select(slice(2, 4)), inside[2:4], sides, block), hidden[2:4])


def test_hidden_voxels_get_the_mean_of_z_scored_data_or_the_middle_of_the_range() -> None:
    intensities = IntensityRange((-1.5, 0.0, 100.0), (3.0, 1.0, 300.0), (False, False, False))
    values = fill_values(intensities)
    assert values == (0.0, 0.5, 200.0)
    patches = torch.randn(2, 3, 4, 5, 6, generator=generator(9))
    masked = torch.rand(2, 1, 4, 5, 6, generator=generator(10)) < 0.5
    filled = fill_masked(patches, masked, values)
    for channel, value in enumerate(values):
        assert (filled[:, channel][masked[:, 0]] == value).all()
        assert torch.equal(filled[:, channel][~masked[:, 0]], patches[:, channel][~masked[:, 0]])
    memory = torch.empty_like(patches)
    assert fill_masked(patches, masked, values, out=memory).data_ptr() == memory.data_ptr()
    assert torch.equal(memory, filled)
