"""Normalised units: where the range of each channel comes from, and the mapping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnunet_genesis.errors import DataError
from nnunet_genesis.pretraining.intensities import measure_range, plans_range
from tests.planned import CT, MASKED_MR, MR, planned


def test_range_is_the_percentiles_of_each_channel_over_all_cases() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(scale, [[scale], [3 * scale]], (2, 4000)).astype(np.float32) for scale in (1.0, 2.0)]
    samples.append(np.full((2, 1), 1e4, dtype=np.float32))
    measured = measure_range(planned(MR, ("FLAIR", "NoNormalization", False)), samples)
    for channel in range(2):
        ordered = np.sort(np.concatenate([sample[channel] for sample in samples]))
        inside = (ordered >= measured.low[channel]) & (ordered <= measured.high[channel])
        assert inside.mean() == pytest.approx(0.99, abs=0.001)
        assert (ordered < measured.low[channel]).mean() == pytest.approx(0.005, abs=0.0005)
    assert measured.high[1] > 2 * measured.high[0], "channels have ranges of their own"
    assert max(measured.high) < 100, "a single outlier does not stretch the range"
    assert measured.masked == (False, False)


def test_range_of_ct_is_the_clip_bounds_of_the_plans_in_normalised_units() -> None:
    """(-60 - 100) / 40 and (220 - 100) / 40, whatever the samples hold."""
    samples = [np.random.default_rng(1).normal(0, 9, (2, 500)).astype(np.float32)]
    measured = measure_range(planned(MR, CT), samples)
    assert (measured.low[1], measured.high[1]) == pytest.approx((-4.0, 3.0))
    assert measured.high[0] > 10
    assert plans_range(planned(MR, CT), 1) == pytest.approx((-4.0, 3.0))
    assert plans_range(planned(MR, CT), 0) is None


def test_masked_normalisation_ignores_exact_zeros_and_only_there() -> None:
    rng = np.random.default_rng(2)
    foreground = rng.uniform(2, 5, 1000)
    values = np.concatenate([foreground, np.zeros(50_000)]).astype(np.float32)
    sample = np.stack([values, values])
    measured = measure_range(planned(MASKED_MR, MR), [sample])
    assert (measured.low[0], measured.high[0]) == pytest.approx(np.percentile(foreground, [0.5, 99.5]), abs=1e-4)
    assert measured.low[1] == 0
    assert measured.masked == (True, False)


def test_a_mask_of_few_voxels_has_the_range_of_all_its_values() -> None:
    mask = np.zeros(1000, np.float32)
    mask[:3] = 2
    measured = measure_range(planned(MR, MR), [np.stack([np.linspace(1, 2, 1000, dtype=np.float32), mask])])
    assert (measured.low[1], measured.high[1]) == (0, 2)


@pytest.mark.parametrize(
    ("channels", "broken", "name"),
    [
        ((MR, ("FLAIR", "ZScoreNormalization", False)), np.full(100, 7.0), "FLAIR"),
        ((MR, MASKED_MR), np.zeros(100), "T2"),
        ((MR, ("ADC", "ZScoreNormalization", False)), np.full(100, np.nan), "ADC"),
        ((MR, ("PD", "ZScoreNormalization", False)), np.append(np.linspace(0, 1, 90), np.full(10, np.inf)), "PD"),
    ],
    ids=["constant", "all background", "not a number", "infinite"],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_channel_without_a_range_is_a_data_error_that_names_it(
    channels: tuple[tuple[str, str, bool], ...], broken: np.ndarray[tuple[int], np.dtype[np.float64]], name: str
) -> None:
    sample = np.stack([np.linspace(1, 2, 100), broken]).astype(np.float32)
    with pytest.raises(DataError, match=rf"channel 1 \({name}\)") as caught:
        measure_range(planned(*channels), [sample])
    assert caught.value.where == Path("preprocessed/cases")
    assert caught.value.mend is not None
    assert "0001" in caught.value.mend


def test_a_channel_with_an_infinite_percentile_is_a_data_error() -> None:
    """Just as many infinities as lift the upper percentile and no more: it is inf, with more of them it is NaN."""
    sample = np.linspace(1, 2, 1000, dtype=np.float32)[None].copy()
    sample[0, :5] = np.inf
    with pytest.raises(DataError, match=r"channel 0 \(T1\)"):
        measure_range(planned(MR), [sample])
