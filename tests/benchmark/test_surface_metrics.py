"""Distances of surfaces, against what can be told without a library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from nnunet_genesis.benchmark.surface_metrics import compare_surfaces

if TYPE_CHECKING:
    import numpy.typing as npt


def make_cube(shape: tuple[int, ...], first: tuple[int, ...], side: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(start, start + side) for start in first)] = True
    return mask


def make_ball(radius: float, spacing: tuple[float, ...], centre: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    """In a box of 40 mm per axis."""
    axes = [np.arange(round(40 / step)) * step for step in spacing]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    distance = np.sqrt(((grid - np.reshape(centre, (-1, *[1] * len(spacing)))) ** 2).sum(0))
    inside: npt.NDArray[np.bool_] = distance <= radius
    return inside


def surface_points(mask: npt.NDArray[np.bool_], spacing: tuple[float, ...]) -> npt.NDArray[np.float64]:
    points: npt.NDArray[np.float64] = np.argwhere(mask & ~binary_erosion(mask)) * np.array(spacing)
    return points


def test_equal_masks_agree() -> None:
    mask = make_cube((20, 20, 20), (5, 5, 5), 8)
    scores = compare_surfaces(mask, mask, (1.0, 2.0, 3.0), 0.5)
    assert (scores.nsd, scores.hd95) == (1.0, 0.0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 0.7), (3.3, 0.8, 0.8)])
def test_hd95_is_that_of_brute_force(spacing: tuple[float, ...]) -> None:
    one = make_ball(9, spacing, (20, 20, 20))
    other = make_ball(11, spacing, (22, 19, 21))
    distances = cdist(surface_points(one, spacing), surface_points(other, spacing))
    expected = max(np.percentile(distances.min(0), 95), np.percentile(distances.min(1), 95))
    assert compare_surfaces(one, other, spacing, 1.0).hd95 == pytest.approx(expected, rel=1e-4)


def test_nsd_of_balls_is_all_or_nothing_around_their_distance() -> None:
    spacing = (0.5, 0.5, 0.5)
    one, other = make_ball(8, spacing, (20, 20, 20)), make_ball(11, spacing, (20, 20, 20))
    assert compare_surfaces(one, other, spacing, 2.0).nsd == 0
    assert compare_surfaces(one, other, spacing, 4.0).nsd == 1


def test_nsd_counts_areas_within_the_tolerance() -> None:
    # A long bar, and the same with its second half moved sideways by 6 voxels: about half of both surfaces is near.
    one, other = np.zeros((60, 30, 30), bool), np.zeros((60, 30, 30), bool)
    one[5:55, 8:12, 8:12] = other[5:30, 8:12, 8:12] = other[30:55, 18:22, 8:12] = True
    scores = compare_surfaces(one, other, (1.0, 1.0, 1.0), 1.0)
    assert scores.nsd == pytest.approx(0.5, abs=0.05)
    assert scores.hd95 == pytest.approx(10, abs=1)


@pytest.mark.parametrize("step", [0.1, 0.3, 0.7, 0.9765625, 1.2, 3.3])
def test_a_deviation_of_exactly_the_tolerance_is_within_it(step: float) -> None:
    one, other = make_cube((30, 30, 30), (5, 5, 5), 10), make_cube((30, 30, 30), (6, 5, 5), 10)
    assert compare_surfaces(one, other, (step, step, step), step).nsd == 1
    assert compare_surfaces(one, other, (step, step, step), 0.9 * step).nsd < 1


def test_a_missed_class_has_the_worst_scores_that_there_could_be() -> None:
    mask, nothing = make_cube((20, 30, 40), (5, 5, 5), 8), np.zeros((20, 30, 40), bool)
    for scores in (
        compare_surfaces(mask, nothing, (1.0, 2.0, 3.0), 1.0),
        compare_surfaces(nothing, mask, (1.0, 2.0, 3.0), 1.0),
    ):
        assert scores.nsd == 0
        assert scores.hd95 == pytest.approx(math.sqrt(20**2 + 60**2 + 120**2))


def test_without_the_class_nothing_is_defined() -> None:
    nothing = np.zeros((5, 5, 5), bool)
    scores = compare_surfaces(nothing, nothing, (1.0, 1.0, 1.0), 1.0)
    assert math.isnan(scores.nsd)
    assert math.isnan(scores.hd95)


def test_a_mask_may_touch_the_border_of_the_image() -> None:
    one, other = make_cube((6, 6, 6), (0, 0, 0), 6), make_cube((6, 6, 6), (0, 0, 0), 5)
    scores = compare_surfaces(one, other, (1.0, 1.0, 1.0), 1.0)
    assert scores == compare_surfaces(np.pad(one, 7), np.pad(other, 7), (1.0, 1.0, 1.0), 1.0)
    assert 0.9 < scores.nsd < 1  # a corner is 1.7 mm away


def test_the_axis_of_flat_images_does_not_count() -> None:
    one, other = make_cube((1, 40, 40), (0, 5, 5), 10), make_cube((1, 40, 40), (0, 5, 8), 10)
    scores = compare_surfaces(one, other, (999.0, 1.0, 2.0), 1.0)
    assert scores.hd95 == 6
    assert 0 < scores.nsd < 1
    assert compare_surfaces(one, np.zeros_like(one), (999.0, 1.0, 2.0), 1.0).hd95 == pytest.approx(math.hypot(40, 80))
