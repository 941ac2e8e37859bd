"""Painting: how much is corrupted, by what noise, and that thin patches work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from nnunet_genesis.pretraining.distortions.painting import (
    Painting,
    apply_painting,
    apply_painting_batched,
    painted_voxels,
    sample_painting,
)
from nnunet_genesis.pretraining.intensities import IntensityRange
from tests.pretraining.distortions import reference
from tests.pretraining.distortions.units import unit_range

PUBLISHED_SIZE = (64, 64, 32)
THIN_SIZES = [(16, 128, 128), (4, 64, 64), (1, 32, 32), (3, 5, 4), (2, 2, 2), (1, 1, 1), (64, 64), (1, 40)]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plainly_painted(parameters: Painting, sample: int, sides: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    boxes = reference.used_boxes(parameters.starts[sample].tolist(), parameters.sizes[sample].tolist())
    return reference.painted(sides, boxes, outside=bool(parameters.outside[sample]))


def box_counts(parameters: Painting) -> torch.Tensor:
    return (parameters.sizes > 0).all(dim=2).sum(dim=1)


@dataclass(frozen=True)
class Shares:
    """Corrupted share of each of 1,000 patches, and what happened to it."""

    kind: npt.NDArray[np.str_]
    share: npt.NDArray[np.float64]

    def mean(self, kind: str) -> float:
        """Over the patches of one kind."""
        return float(self.share[self.kind == kind].mean())


@pytest.fixture(scope="module")
def ours() -> Shares:
    parameters = sample_painting(1000, PUBLISHED_SIZE, generator(0))
    share = []
    for first in range(0, 1000, 20):
        part = parameters.select(slice(first, first + 20))
        painted = painted_voxels(part, PUBLISHED_SIZE, torch.device("cpu")).flatten(1)
        share.append(painted.sum(1).double() / painted.shape[1] * part.applied)
    kind = np.where(parameters.outside.numpy(), "outside", "inside")
    return Shares(np.where(parameters.applied.numpy(), kind, "nothing"), torch.cat(share).numpy())


@pytest.fixture(scope="module")
def theirs() -> Shares:
    rng = np.random.default_rng(0)
    draws = [reference.paint(PUBLISHED_SIZE, rng) for _ in range(1000)]
    return Shares(np.array([kind for kind, _ in draws]), np.array([mask.mean() for _, mask in draws]))


@pytest.mark.parametrize(("kind", "published", "tolerance"), [("inside", 0.06, 0.01), ("outside", 0.67, 0.02)])
def test_corrupted_share_of_each_kind_is_the_published_one(
    ours: Shares, theirs: Shares, kind: str, published: float, tolerance: float
) -> None:
    """Standard errors at 180 and 720 patches are 0.0015 and 0.0023, so that 0.01 is three of a difference at least.

    The published figures are rounded: 4,000 patches by the reference give 0.055 and 0.683.
    """
    assert ours.mean(kind) == pytest.approx(published, abs=tolerance)
    assert ours.mean(kind) == pytest.approx(theirs.mean(kind), abs=0.01 if kind == "outside" else 0.006)


def test_corrupted_share_over_all_patches_is_the_published_one(ours: Shares, theirs: Shares) -> None:
    """About 49 %; the standard error of 1,000 patches is 0.009."""
    assert ours.share.mean() == pytest.approx(0.49, abs=0.03)
    assert ours.share.mean() == pytest.approx(theirs.share.mean(), abs=0.03)


def test_slices_hold_the_documented_share_of_noise() -> None:
    """Boxes of the same sides lack an axis: more of a slice is in them than of a volume."""
    parameters = sample_painting(4000, (64, 64), generator(0))
    share = painted_voxels(parameters, (64, 64), torch.device("cpu")).flatten(1).double().mean(1)
    assert float(share[~parameters.outside].mean()) == pytest.approx(0.21, abs=0.01)
    assert float(share[parameters.outside].mean()) == pytest.approx(0.48, abs=0.01)
    assert float((share * parameters.applied).mean()) == pytest.approx(0.38, abs=0.015)


@pytest.mark.parametrize("kind", ["inside", "outside"])
def test_corrupted_shares_are_distributed_as_in_the_reference(ours: Shares, theirs: Shares, kind: str) -> None:
    first, second = ours.share[ours.kind == kind], theirs.share[theirs.kind == kind]
    assert stats.ks_2samp(first, second).pvalue > 1e-3


def test_kinds_occur_with_the_published_probabilities(ours: Shares) -> None:
    """0.1 nothing, 0.9 * 0.2 in-painting, 0.9 * 0.8 out-painting; chi-square, p > 0.001."""
    counts = [int((ours.kind == kind).sum()) for kind in ("nothing", "inside", "outside")]
    assert stats.chisquare(counts, [100, 180, 720]).pvalue > 1e-3
    assert (ours.share[ours.kind == "nothing"] == 0).all()


@pytest.mark.parametrize(("outside", "fewest"), [(False, 0), (True, 1)])
def test_further_boxes_follow_with_probability_095(outside: bool, fewest: int) -> None:
    """Up to five boxes; in-painting may have none (0.05), out-painting keeps one. Chi-square over 6,000 patches."""
    parameters = sample_painting(6000, (32, 32, 32), generator(1), outside_probability=float(outside))
    counts = np.bincount(box_counts(parameters).numpy(), minlength=6)
    chain = [0.95**k * (0.05 if k < 5 - fewest else 1) for k in range(6 - fewest)]
    assert counts[:fewest].sum() == 0
    assert stats.chisquare(counts[fewest:], 6000 * np.array(chain)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("outside", "ranges"), [(False, ((10, 21), (10, 21), (5, 10))), (True, ((28, 37), (28, 37), (14, 19)))]
)
def test_box_sides_and_places_have_the_published_range(outside: bool, ranges: tuple[tuple[int, int], ...]) -> None:
    """Sides n/6 to n/3, or n - 4/7 n to n - 3/7 n, both ends reached; three voxels to the border at both ends."""
    parameters = sample_painting(3000, PUBLISHED_SIZE, generator(2), outside_probability=float(outside))
    used = (parameters.sizes > 0).all(dim=2)
    sizes, starts = parameters.sizes[used], parameters.starts[used]
    for axis, (shortest, longest) in enumerate(ranges):
        assert np.unique(sizes[:, axis].numpy()).tolist() == list(range(shortest, longest + 1))
        assert starts[:, axis].min() == 3
        assert (starts[:, axis] + sizes[:, axis]).max() == PUBLISHED_SIZE[axis] - 3


@pytest.mark.parametrize("sides", [PUBLISHED_SIZE, *THIN_SIZES])
def test_boxes_lie_inside_the_patch_and_outpainting_leaves_a_window(sides: tuple[int, ...]) -> None:
    parameters = sample_painting(60, sides, generator(3), probability=1.0, outside_probability=0.5)
    assert 0 < parameters.outside.sum() < 60
    used = (parameters.sizes > 0).all(dim=2)
    assert torch.equal(used, (parameters.sizes > 0).any(dim=2)), "a box has no side, or all sides"
    assert (parameters.starts >= 0).all()
    assert (parameters.starts + parameters.sizes <= torch.tensor(sides)).all()
    painted = painted_voxels(parameters, sides, torch.device("cpu"))
    kept = (~painted).flatten(1).sum(1)
    assert (kept[parameters.outside] >= 1).all()
    for sample in range(60):
        np.testing.assert_array_equal(painted[sample].numpy(), plainly_painted(parameters, sample, sides))


@pytest.mark.parametrize("sides", [(8, 64, 64), (4, 64, 64), (1, 32, 32), (64, 64)])
def test_both_kinds_of_painting_corrupt_a_thin_patch_in_part(sides: tuple[int, ...]) -> None:
    parameters = sample_painting(60, sides, generator(4), probability=1.0, outside_probability=0.5)
    clean = torch.full((60, 2, *sides), -1.0)
    share = (apply_painting(clean, parameters, unit_range(2)) != clean).flatten(1).double().mean(1)
    inside, outside = share[~parameters.outside], share[parameters.outside]
    assert (outside > 0).all()
    assert (outside < 1).all()
    assert (inside < 1).all()
    assert ((inside > 0) == (box_counts(parameters)[~parameters.outside] > 0)).all()
    assert outside.mean() > inside.mean()


@pytest.mark.parametrize("sides", [(24, 32, 20), (4, 32, 32), (48, 40)])
def test_painted_voxels_are_noise_in_all_channels_and_no_other_voxel_is_touched(sides: tuple[int, ...]) -> None:
    parameters = sample_painting(12, sides, generator(5), probability=1.0, outside_probability=0.5)
    units = torch.rand(12, 3, *sides, generator=generator(6)) + 2
    before = units.clone()
    result = apply_painting(units, parameters, unit_range(3))
    assert torch.equal(units, before)
    for sample in range(12):
        mask = plainly_painted(parameters, sample, sides)
        assert torch.equal(result[sample][:, ~mask], units[sample][:, ~mask])
        assert (result[sample][:, mask] >= 0).all()
        assert (result[sample][:, mask] <= 1).all()


def test_only_applied_samples_change() -> None:
    parameters = sample_painting(4, (16, 16, 16), generator(7), outside_probability=1.0)
    parameters = replace(parameters, applied=torch.tensor([False, True, True, False]))
    units = torch.rand(4, 1, 16, 16, 16, generator=generator(8))
    result = apply_painting(units, parameters, unit_range(1))
    assert (result != units).flatten(1).any(1).tolist() == [False, True, True, False]


def test_noise_is_uniform_over_the_unit_interval_and_independent_in_voxels_channels_and_samples() -> None:
    parameters = sample_painting(3, (32, 32, 32), generator(9), probability=1.0, outside_probability=1.0)
    same_boxes = replace(
        parameters, starts=parameters.starts[:1].expand(3, -1, -1), sizes=parameters.sizes[:1].expand(3, -1, -1)
    )
    mask = plainly_painted(same_boxes, 0, (32, 32, 32))
    result = apply_painting(torch.full((3, 2, 32, 32, 32), -1.0), same_boxes, unit_range(2))
    noise = result.flatten(0, 1)[:, mask].double().numpy()
    assert noise.shape[1] > 10_000
    for values in noise:
        assert stats.kstest(values, "uniform").pvalue > 1e-3
    correlation = np.corrcoef(noise) - np.eye(6)
    assert np.abs(correlation).max() < 5 / noise.shape[1] ** 0.5
    both = mask[:-1] & mask[1:]
    patch = result[0, 0].numpy()
    assert abs(np.corrcoef(patch[:-1][both], patch[1:][both])[0, 1]) < 0.05


def test_the_same_parameters_give_the_same_noise_and_another_seed_another() -> None:
    units = torch.full((2, 1, 16, 16, 16), -1.0)
    first, again, other = (
        apply_painting(units, sample_painting(2, (16, 16, 16), generator(seed), probability=1.0), unit_range(1))
        for seed in (10, 10, 11)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    parameters = sample_painting(2, (16, 16, 16), generator(10), probability=1.0)
    other_noise = apply_painting(units, replace(parameters, noise_seed=parameters.noise_seed + 1), unit_range(1))
    assert torch.equal(other_noise == -1, first == -1), "the seed decides the noise, not the boxes"
    assert not torch.equal(other_noise, first)


def test_noise_that_is_drawn_at_once_spans_the_range_of_each_channel() -> None:
    """The way of accelerators, with the processor's own generator."""
    parameters = sample_painting(2, (32, 32, 32), generator(12), probability=1.0, outside_probability=1.0)
    intensities = IntensityRange((-1.5, 10.0), (3.0, 20.0), (False, False))
    result = apply_painting_batched(torch.full((2, 2, 32, 32, 32), -99.0), parameters, intensities)
    for sample in range(2):
        mask = plainly_painted(parameters, sample, (32, 32, 32))
        for values, low, high in zip(result[sample], intensities.low, intensities.high, strict=True):
            noise = values.double().numpy()[mask]
            assert stats.kstest(noise, stats.uniform(low, high - low).cdf).pvalue > 1e-3
            assert (values.numpy()[~mask] == -99).all()
