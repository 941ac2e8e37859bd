"""Non-linear intensity: against a double precision curve, in order, without clamping.

How exact a table can be: it is linear inside its cells, at most 65,536 of them, and a curve may have a vertical tangent
(at 0, at 1, or in the middle for x1 = 1, x2 = 0). There nothing better can be promised than that a value lies between
those of the curve one finest cell to the left and to the right.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import stats

from nnunet_genesis.pretraining.distortions.curves import tabulate_curve
from nnunet_genesis.pretraining.distortions.intensity import (
    IntensityCurves,
    apply_intensity_curves,
    apply_intensity_curves_batched,
    sample_intensity_curves,
)
from nnunet_genesis.pretraining.intensities import IntensityRange
from tests.pretraining.distortions import reference
from tests.pretraining.distortions.units import unit_range

if TYPE_CHECKING:
    import numpy.typing as npt

CELL = 1 / 65536
ROUNDING = 2e-6
CORNERS = [torch.tensor(corner).view(2, 2) for corner in itertools.product([0.0, 1.0], repeat=4)]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def always(control_points: torch.Tensor, decreasing: torch.Tensor) -> IntensityCurves:
    return IntensityCurves(torch.ones(len(control_points), dtype=torch.bool), control_points, decreasing)


def random_curves(num_curves: int, seed: int) -> IntensityCurves:
    return sample_intensity_curves(num_curves, 1, generator(seed), probability=1.0)


def mapped(curves: IntensityCurves, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The same values through every curve of one channel: (curves, values)."""
    units = torch.from_numpy(values).float().view(1, 1, -1, 1, 1).expand(len(curves.applied), -1, -1, -1, -1)
    return apply_intensity_curves(units, curves, unit_range(1)).double().numpy().reshape(len(curves.applied), -1)


def enclosure(
    curves: IntensityCurves, curve: int, values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The reference one cell to the left, at the values, and one cell to the right."""
    points, decreasing = curves.control_points[curve, 0].double().numpy(), bool(curves.decreasing[curve, 0])
    left, middle, right = (
        reference.bezier(np.clip(values + shift, 0, 1), points, decreasing=decreasing) for shift in (-CELL, 0, CELL)
    )
    return left, middle, right


def in_cells(seed: int, count: int) -> npt.NDArray[np.float64]:
    """Values of [0, 1] that are exact in single precision, the ends included."""
    inner = np.random.default_rng(seed).random(count).astype(np.float32).astype(np.float64)
    return np.sort(np.concatenate([[0.0], inner, [1.0]]))


def test_values_follow_the_double_precision_curve_to_1e_5_of_its_range() -> None:
    """But in cells of the finest table where the curve is all but vertical: there it stays between its neighbours."""
    values = in_cells(0, 3000)
    curves = random_curves(300, 0)
    exact = []
    for curve, result in enumerate(mapped(curves, values)):
        left, middle, right = enclosure(curves, curve, values)
        error = np.abs(result - middle)
        steep = np.maximum(np.abs(middle - left), np.abs(right - middle)) > 50 * CELL
        assert error[~steep].max() <= 1e-5
        assert (result >= np.minimum(left, right) - ROUNDING).all()
        assert (result <= np.maximum(left, right) + ROUNDING).all()
        exact.append((error <= 1e-5).mean())
    assert np.mean(exact) > 0.9999


def test_the_curve_is_as_exact_in_the_units_of_the_data() -> None:
    """Hounsfield units as nnU-Net normalises them: 1e-5 of the range, as the way to u and back is part of the table."""
    low, high = -3.2, 2.1
    intensities = IntensityRange((low,), (high,), (False,))
    points = torch.tensor([[[[0.3, 0.1], [0.6, 0.8]]]])
    values = torch.linspace(low, high, 5001).view(1, 1, 5001, 1, 1)
    for decreasing in (False, True):
        result = apply_intensity_curves(values, always(points, torch.tensor([[decreasing]])), intensities)
        u = (values.double().numpy().ravel() - low) / (high - low)
        expected = low + (high - low) * reference.bezier(u, points[0, 0].double().numpy(), decreasing=decreasing)
        np.testing.assert_allclose(result.numpy().ravel(), expected, rtol=0, atol=1e-5 * (high - low))


@pytest.mark.parametrize("decreasing", [False, True])
@pytest.mark.parametrize(
    "corner", CORNERS, ids=lambda corner: "x{:.0f} y{:.0f}, x{:.0f} y{:.0f}".format(*corner.ravel())
)
def test_extreme_control_points_give_finite_monotone_curves(corner: torch.Tensor, decreasing: bool) -> None:
    curves = always(corner[None, None], torch.tensor([[decreasing]]))
    values = in_cells(1, 2000)
    result = mapped(curves, values)[0]
    assert np.isfinite(result).all()
    steps = np.diff(result) * (-1 if decreasing else 1)
    assert steps.min() >= -ROUNDING
    assert result[[0, -1]] == pytest.approx([1, 0] if decreasing else [0, 1], abs=ROUNDING)
    left, _, right = enclosure(curves, 0, values)
    assert (result >= np.minimum(left, right) - ROUNDING).all()
    assert (result <= np.maximum(left, right) + ROUNDING).all()


def test_random_curves_are_monotone_in_the_sampled_direction_between_the_corners() -> None:
    curves = random_curves(300, 2)
    result = mapped(curves, in_cells(2, 500))
    falls = curves.decreasing[:, 0].numpy()
    assert 0 < falls.sum() < len(falls)
    steps = np.diff(result, axis=1) * np.where(falls, -1, 1)[:, None]
    assert steps.min() >= -ROUNDING
    np.testing.assert_allclose(result[:, 0], np.where(falls, 1, 0), atol=ROUNDING)
    np.testing.assert_allclose(result[:, -1], np.where(falls, 0, 1), atol=ROUNDING)


def test_tables_never_leave_the_unit_interval_nor_turn_back() -> None:
    """No tolerance: what is looked up is exactly monotone."""
    for points in [*CORNERS, *torch.rand(64, 2, 2, generator=generator(3))]:
        rising, falling = (tabulate_curve(points, decreasing=decreasing) for decreasing in (False, True))
        assert (rising.rises >= 0).all()
        assert (falling.rises <= 0).all()
        for table in (rising, falling):
            inside = table.starts[1:]
            assert inside.min() == 0
            assert inside.max() == 1


def test_values_outside_the_unit_interval_go_on_with_slope_one_and_keep_their_order() -> None:
    curves = random_curves(40, 4)
    falls = curves.decreasing[:, 0].numpy()
    assert 0 < falls.sum() < len(falls)
    below, above = np.linspace(-3, 0, 61), np.linspace(1, 4, 61)
    sign = np.where(falls, -1.0, 1.0)[:, None]
    np.testing.assert_allclose(mapped(curves, below), np.where(falls, 1, 0)[:, None] + sign * below, atol=ROUNDING)
    np.testing.assert_allclose(
        mapped(curves, above), np.where(falls, 0, 1)[:, None] + sign * (above - 1), atol=ROUNDING
    )
    everywhere = mapped(curves, np.linspace(-2, 3, 501))
    assert (np.diff(everywhere, axis=1) * sign >= -ROUNDING).all()


def test_values_far_outside_the_range_are_the_same_for_a_whole_batch_at_once() -> None:
    """The tables of all channels follow each other in memory: what lies beyond one is not looked up in the next."""
    curves = sample_intensity_curves(3, 2, generator(13), probability=1.0)
    units = torch.linspace(-4, 5, 600).view(1, 1, 10, 10, 6).expand(3, 2, -1, -1, -1).contiguous()
    at_once = apply_intensity_curves_batched(units, curves, unit_range(2))
    torch.testing.assert_close(at_once, apply_intensity_curves(units, curves, unit_range(2)), rtol=0, atol=5e-5)


def test_half_of_the_curves_are_decreasing() -> None:
    decreasing = sample_intensity_curves(4000, 2, generator(5)).decreasing
    assert decreasing.shape == (4000, 2)
    assert decreasing.double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 8000**0.5)
    together = (decreasing[:, 0] & decreasing[:, 1]).double().mean().item()
    assert together == pytest.approx(0.25, abs=0.03), "channels are inverted independently"


def test_control_points_are_uniform_in_the_unit_square() -> None:
    points = sample_intensity_curves(1000, 2, generator(6)).control_points
    assert points.shape == (1000, 2, 2, 2)
    for coordinate in points.flatten(0, 1).flatten(1).T.numpy():
        assert stats.kstest(coordinate, "uniform").pvalue > 1e-3


def test_nine_of_ten_samples_are_distorted() -> None:
    applied = sample_intensity_curves(5000, 1, generator(7)).applied
    assert applied.double().mean().item() == pytest.approx(0.9, abs=4 * (0.09 / 5000) ** 0.5)


def test_every_channel_and_every_sample_has_its_own_curve() -> None:
    curves = sample_intensity_curves(3, 4, generator(8), probability=1.0)
    units = torch.linspace(0, 1, 64).view(1, 1, 4, 4, 4).expand(3, 4, -1, -1, -1)
    result = apply_intensity_curves(units, curves, unit_range(4)).flatten(0, 1).flatten(1)
    for first, second in itertools.combinations(range(len(result)), 2):
        assert (result[first] - result[second]).abs().max() > 0.01
    for sample, channel in itertools.product(range(3), range(4)):
        alone = always(
            curves.control_points[sample : sample + 1, channel : channel + 1],
            curves.decreasing[sample : sample + 1, channel : channel + 1],
        )
        single = apply_intensity_curves(units[:1, :1], alone, unit_range(1))
        assert torch.equal(result[4 * sample + channel], single.flatten())


@pytest.mark.parametrize("sides", [(6, 5, 4), (6, 5)])
def test_applied_samples_take_their_own_curves_and_others_and_the_input_stay(sides: tuple[int, ...]) -> None:
    curves = replace(sample_intensity_curves(4, 2, generator(9)), applied=torch.tensor([False, True, False, True]))
    units = torch.rand(4, 2, *sides, generator=generator(10)) * 1.4 - 0.2
    before = units.clone()
    result = apply_intensity_curves(units, curves, unit_range(2))
    assert torch.equal(units, before)
    assert torch.equal(result[[0, 2]], units[[0, 2]])
    for sample in (1, 3):
        alone = always(curves.control_points[sample, None], curves.decreasing[sample, None])
        assert torch.equal(result[sample, None], apply_intensity_curves(units[sample, None], alone, unit_range(2)))
        assert (result[sample] != units[sample]).double().mean() > 0.5, "only what lies outside [0, 1] may stay"


def test_the_same_parameters_give_the_same_result() -> None:
    curves = random_curves(5, 11)
    values = in_cells(11, 200)
    np.testing.assert_array_equal(mapped(curves, values), mapped(curves, values))
    assert not np.array_equal(mapped(curves, values), mapped(random_curves(5, 12), values))
