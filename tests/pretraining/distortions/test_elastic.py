"""Elastic deformation against scipy: the same displacements in distribution, the same values at given ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter, map_coordinates
from torch.nn.functional import grid_sample

from nnunet_genesis.pretraining.distortions.elastic import (
    ElasticDeformation,
    _interpolate,
    _interpolate_clamped,
    apply_elastic,
    apply_elastic_batched,
    displacement_deviation,
    sample_elastic,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

CUBE = (32, 64, 64)
"""The authors' cubes of 64 x 64 x 32 in nnU-Net's order."""
SIZES = [(1, (16, 256, 256)), (4, (40, 56, 40)), (1, CUBE), (2, (96, 80)), (1, (1, 32, 32)), (2, (6, 12, 48))]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whole(patches: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[0, side] for side in patches.shape[2:]]).expand(len(patches), -1, -1)


def ramps(batch_size: int, sides: tuple[int, ...]) -> torch.Tensor:
    """Every channel holds the coordinate along one axis: deformed, it tells where the values of a voxel come from."""
    axes = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in sides), indexing="ij")
    return torch.stack(axes).expand(batch_size, -1, *[-1] * len(sides)).contiguous()


def draw(batch_size: int, sides: tuple[int, ...], seed: int) -> ElasticDeformation:
    return sample_elastic(batch_size, sides, generator(seed))


def smooth(batch_size: int, channels: int, sides: tuple[int, ...]) -> torch.Tensor:
    noise = np.random.default_rng(0).normal(size=(batch_size, channels, *sides))
    return torch.from_numpy(4 * gaussian_filter(noise, (0, 0, *[1] * len(sides)))).float()


def autocorrelation(fields: FloatArray) -> list[float]:
    """Of fields (draws, z, y, x) at lags of half a width to two widths, axis after axis."""
    values = []
    for axis in (1, 2, 3):
        for lag in (4, 8, 12, 16):
            begin = np.take(fields, range(fields.shape[axis] - lag), axis)
            end = np.take(fields, range(lag, fields.shape[axis]), axis)
            values.append(float((begin * end).mean() / np.square(fields).mean()))
    return values


@pytest.fixture(scope="module")
def published() -> FloatArray:
    """Displacements as published: uniform noise per voxel, smoothed over all axes, times 991; far from any border."""
    rng = np.random.default_rng(1)
    noise = (rng.uniform(-1, 1, (48, 128, 128)).astype(np.float32) for _ in range(16))
    return np.stack([991 * gaussian_filter(field, 8, mode="wrap") for field in noise])


@pytest.fixture(scope="module")
def ours() -> FloatArray:
    """Displacements (draws, y and x, z, y, x), at least two widths from the border of the patch."""
    sides = (32, 128, 128)
    still = ramps(1, sides)
    moved = [apply_elastic(still, draw(1, sides, seed), whole(still)) - still for seed in range(32)]
    return torch.cat(moved)[:, 1:, :, 16:-16, 16:-16].numpy()


def test_displacements_have_the_published_deviation(published: FloatArray, ours: FloatArray) -> None:
    assert published.std() == pytest.approx(3.79, rel=0.04)
    assert displacement_deviation() == pytest.approx(3.79, abs=0.005)
    for component in (ours[:, 0], ours[:, 1]):
        assert component.std() == pytest.approx(published.std(), rel=0.06)
    assert abs(ours.mean()) < 0.3
    central = ours[:, :, ::31, ::47, ::47].ravel()
    assert stats.kstest(central, stats.norm(scale=displacement_deviation()).cdf).pvalue > 1e-3


def test_displacements_are_as_smooth_as_published_and_independent_of_each_other(
    published: FloatArray, ours: FloatArray
) -> None:
    expected = autocorrelation(published)
    assert expected[0] > 0.9
    assert expected[3] < 0.5
    for component in (ours[:, 0], ours[:, 1]):
        assert autocorrelation(component) == pytest.approx(expected, abs=0.08)
    assert abs((ours[:, 0] * ours[:, 1]).mean()) < 0.1 * published.var()


def test_displacements_are_alike_at_the_border_and_inside() -> None:
    """Told by slopes that do not end at the border: a voxel there comes from outside as often as from inside."""
    sides = (2, 64, 64)
    still = ramps(400, sides)
    moved = (apply_elastic(still, draw(400, sides, 3), whole(still)) - still)[:, 1:]
    at_border, inside = moved[:, 0, 0, 0, 32], moved[:, 0, 0, 32, 32]
    assert (at_border == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert at_border[at_border > 0].square().mean().sqrt().item() == pytest.approx(inside.std().item(), rel=0.2)


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_values_are_those_of_scipy_at_the_places_they_come_from(channels: int, sides: tuple[int, ...]) -> None:
    """All channels share the places; no value comes from another slice or from outside the patch."""
    image, places = smooth(3, channels, sides), ramps(3, sides)
    both = torch.cat([image, places], dim=1)
    deformed = apply_elastic(both, draw(3, sides, 5), whole(both))
    coordinates = deformed[:, channels:].numpy()
    if len(sides) == 3:
        np.testing.assert_allclose(coordinates[:, 0], places[:, 0].numpy(), atol=1e-3)
    for axis, side in enumerate(sides):
        assert coordinates[:, axis].min() > -1e-3
        assert coordinates[:, axis].max() < side - 1 + 1e-3
    for sample, channel in np.ndindex(3, channels):
        expected = map_coordinates(image[sample, channel].numpy(), coordinates[sample], order=1, mode="nearest")
        np.testing.assert_allclose(deformed[sample, channel].numpy(), expected, atol=2e-3)
    assert (deformed[:, :channels] - image).abs().amax((1, 2)).flatten(1).amax(1).min() > 0.1, (
        "every sample is deformed"
    )


def test_short_axes_are_displaced_in_proportion_and_thin_ones_not_at_all() -> None:
    def deviations(sides: tuple[int, ...]) -> list[float]:
        moved = apply_elastic(ramps(100, sides), draw(100, sides, 6), whole(ramps(100, sides))) - ramps(100, sides)
        centre = (slice(None), slice(None), *(slice(side // 2, side // 2 + 1) for side in sides))
        return [float(of_axis.std()) for of_axis in moved[centre].flatten(2).unbind(1)]

    full = displacement_deviation()
    assert deviations((4, 160, 64)) == pytest.approx([0, full, full], rel=0.25, abs=1e-3)
    assert deviations((4, 15, 32)) == pytest.approx([0, 0, full / 2], rel=0.25, abs=1e-3)
    assert deviations((16, 24)) == pytest.approx([full / 4, full * 3 / 8], rel=0.25)


@pytest.mark.parametrize("sides", [(3, 5, 4), (40, 8, 15), (1, 1, 1), (5, 4)])
def test_patches_that_cannot_carry_it_stay_as_they_are(sides: tuple[int, ...]) -> None:
    patches = smooth(2, 1, sides)
    parameters = draw(2, sides, 7)
    for way in (apply_elastic, apply_elastic_batched):
        assert torch.equal(way(patches, parameters, whole(patches)), patches)
    assert parameters.explain(0) == "not deformed"


@pytest.mark.parametrize("way", [apply_elastic, apply_elastic_batched])
@pytest.mark.parametrize("sides", [(20, 64, 48), (64, 48)])
def test_padding_is_neither_pulled_in_nor_changed(way: Callable[..., torch.Tensor], sides: tuple[int, ...]) -> None:
    """Padding of 1,000 would be seen at once in a scan between 0 and 1."""
    inside = torch.tensor([[[3, 17], [9, 50], [0, 33]], [[0, 20], [0, 64], [0, 48]]])[:, -len(sides) :]
    patches = torch.full((2, 2, *sides), 1000.0)
    boxes = [(slice(None), *(slice(a, b) for a, b in box)) for box in inside.tolist()]
    for patch, box in zip(patches, boxes, strict=True):
        patch[box] = torch.rand(patch[box].shape, generator=generator(8))
    deformed = way(patches, draw(2, sides, 9), inside)
    for before, after, box in zip(patches, deformed, boxes, strict=True):
        assert after[box].max() <= 1
        assert after[box].min() >= 0
        assert not torch.equal(after[box], before[box])
        padding = torch.ones(before.shape, dtype=torch.bool)
        padding[box] = False
        assert torch.equal(after[padding], before[padding])


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_a_whole_batch_at_once_gives_what_single_samples_give(channels: int, sides: tuple[int, ...]) -> None:
    patches = smooth(4, channels, sides)
    parameters = sample_elastic(4, sides, generator(10), probability=0.6)
    assert 0 < parameters.applied.sum() < 4
    inside = whole(patches).clone()
    inside[0, -1, 1] -= 3
    for boxes in (inside, whole(patches)):
        expected = apply_elastic(patches, parameters, boxes)
        at_once = apply_elastic_batched(patches, parameters, boxes)
        torch.testing.assert_close(at_once, expected, rtol=0, atol=2e-5)
        assert torch.equal(expected[~parameters.applied], patches[~parameters.applied])
        alone = apply_elastic(patches[1:3], parameters.select(slice(1, 3)), boxes[1:3])
        assert torch.equal(alone, expected[1:3]), "a process with a part of the batch"


@pytest.mark.parametrize(("channels", "sides"), SIZES)
def test_no_value_is_read_back_from_the_device(channels: int, sides: tuple[int, ...]) -> None:
    patches = torch.zeros(3, channels, *sides)
    inside = whole(patches).clone()
    inside[0, :, 1] = (inside[0, :, 1] - 1).clamp(min=1)
    deformed = apply_elastic(patches.to("meta"), sample_elastic(3, sides, generator(11), probability=0.5), inside)
    assert deformed.device.type == "meta"
    assert deformed.shape == patches.shape


@pytest.mark.parametrize("sides", [(64, 64), (40, 56), (81, 160), (256, 255), (7, 1), (1, 1)])
def test_points_clamped_to_the_border_give_what_padding_by_it_gives(sides: tuple[int, ...]) -> None:
    """The way of MPS, whose older versions cannot pad by the border: on the CPU, both can be compared."""
    images = smooth(3, 2, sides) + 5
    points = 2.6 * torch.rand(3, *sides, 2, generator=generator(15)) - 1.3
    points[0, 0, 0] = torch.tensor([-1.0, 1.0])
    expected, clamped = (way(images, points) for way in (_interpolate, _interpolate_clamped))
    difference = (clamped - expected).abs()
    assert float(difference.max()) <= 1e-7 * max(sides) * float(images.abs().max())
    assert not torch.equal(expected, grid_sample(images, points, align_corners=False)), "many points are beyond"


def test_the_seed_decides_and_memory_is_used_again() -> None:
    patches = smooth(2, 1, (16, 40, 40))
    first, again = (apply_elastic(patches, draw(2, (16, 40, 40), 12), whole(patches)) for _ in range(2))
    other = apply_elastic(patches, draw(2, (16, 40, 40), 13), whole(patches))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    memory = torch.full_like(patches, float("nan"))
    reused = apply_elastic(patches, draw(2, (16, 40, 40), 12), whole(patches), out=memory)
    assert reused.data_ptr() == memory.data_ptr()
    assert torch.equal(reused, first)
    assert not torch.equal(first[0] - patches[0], first[1] - patches[1])


def test_explanations_name_the_displacement() -> None:
    text = draw(1, (32, 64, 40), 14).explain(0)
    assert text == (
        "displaced by 3.8 and 2.4 voxels (standard deviation) along the last two axes, smooth over 8.0 and 5.0"
    )
