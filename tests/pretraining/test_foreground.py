"""Foreground without labels, and the coarse map that stands for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from nnunet_genesis.pretraining.foreground import (
    cell_borders,
    decode_map,
    encode_map,
    foreground_mask,
    foreground_shares,
    map_foreground,
)
from tests.planned import CT, MASKED_MR, MR, planned
from tests.real_data import real_data_folder


def exact_share(mask: npt.NDArray[np.bool_], first: npt.NDArray[np.int64], size: tuple[int, ...]) -> float:
    part = tuple(slice(max(0, start), max(0, start + side)) for start, side in zip(first.tolist(), size, strict=True))
    return float(mask[part].sum() / np.prod(size))


def test_masked_channels_are_background_where_all_are_zero() -> None:
    voxels = np.array([[0.0, 0.0, 1.0, -1.9, 1e-6], [0.0, 0.5, 0.0, -1.9, 0.0]], dtype=np.float32)[:, None, None]
    assert foreground_mask(voxels, planned(MASKED_MR, MASKED_MR))[0, 0].tolist() == [False, True, True, True, False]


def test_ct_is_background_up_to_a_tenth_above_the_lower_clip_bound() -> None:
    """Clip bounds -60 and 220 with mean 100 and deviation 40: -4 and 3 in normalised units, a tenth of it is 0.7."""
    voxels = np.array([-4.0, -3.31, -3.29, 0.0, 3.0], dtype=np.float32).reshape(1, 1, 1, 5)
    assert foreground_mask(voxels, planned(CT))[0, 0].tolist() == [False, False, True, True, True]


def test_other_channels_go_by_the_range_of_the_case_itself() -> None:
    rng = np.random.default_rng(0)
    air, tissue = rng.normal(0, 2, 5000), rng.normal(100, 20, 5000)
    voxels = np.concatenate([air, tissue]).reshape(1, 10, 10, 100)
    for scaled in (voxels, voxels / 50 - 1):  # a z-score changes nothing
        mask = foreground_mask(scaled.astype(np.float32), planned(MR)).reshape(-1)
        assert mask[:5000].mean() < 0.01
        assert mask[5000:].mean() > 0.99


def test_a_voxel_is_foreground_if_any_channel_says_so() -> None:
    dark = np.zeros((1, 20, 20), dtype=np.float32)
    bright = dark.copy()
    bright[0, :10] = 1
    mask = foreground_mask(np.stack([dark, bright]), planned(MASKED_MR, MR))
    np.testing.assert_array_equal(mask, bright > 0)


def test_real_scans_air_is_background_and_the_body_is_not() -> None:
    file = sorted((real_data_folder("sts_mr_t1") / "images").glob("*.nii.gz"))[0]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(file).replace("images", "labels")))
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(file))).astype(np.float32)
    mask = foreground_mask(image[None], planned(MR))
    assert mask[labels > 0].mean() > 0.98, "the tumour is foreground"
    assert 0.2 < 1 - mask.mean() < 0.4, "the air around the leg, by eye about a third"


@pytest.mark.parametrize("shape", [(64, 64, 64), (16, 256, 256), (35, 51, 35), (3, 5, 4), (1, 200, 7)])
def test_map_holds_the_share_of_every_cell(shape: tuple[int, int, int]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.4
    mask[: shape[0] // 2] = False
    cells = map_foreground(mask)
    z, y, x = (cell_borders(side) for side in shape)
    for i, j, k in np.ndindex(8, 8, 8):
        part = mask[z[i] : z[i + 1], y[j] : y[j + 1], x[k] : x[k + 1]]
        expected = 255 * part.mean() if part.size else 0
        assert cells[i, j, k] == pytest.approx(expected, abs=0.51)
    np.testing.assert_array_equal(decode_map(encode_map(cells)), cells)


@pytest.mark.parametrize(
    ("shape", "size"), [((64, 64, 64), (32, 32, 32)), ((16, 256, 256), (16, 64, 64)), ((3, 40, 40), (8, 24, 56))]
)
def test_shares_are_exact_for_whole_cells_and_count_padding_as_background(
    shape: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    mask = np.zeros(shape, dtype=bool)
    mask[:, shape[1] // 2 :, shape[2] // 4 : shape[2] // 2] = True  # along borders of cells
    cells = map_foreground(mask)
    steps = [max(1, side // 8) for side in shape]
    starts = [
        range(-(step * ((wanted - side) // 2 // step)) if wanted > side else 0, max(1, side - wanted + 1), step)
        for step, side, wanted in zip(steps, shape, size, strict=True)
    ]
    first = np.array(np.meshgrid(*starts, indexing="ij")).reshape(3, -1).T
    found = foreground_shares(cells, shape, first, size)
    expected = [exact_share(mask, start, size) for start in first]
    np.testing.assert_allclose(found, expected, atol=0.005)


def test_shares_estimate_real_bodies_well_enough_to_choose_by() -> None:
    """A ball in a scan of CT's size: the estimate is within 5 % of the truth on average."""
    shape, size = (120, 200, 200), (48, 64, 64)
    grid = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij", sparse=True)
    mask = np.asarray(np.add.reduce(np.broadcast_arrays(*(axis**2 for axis in grid))) < 0.5)
    rng = np.random.default_rng(2)
    first = rng.integers(0, np.subtract(shape, size) + 1, size=(200, 3))
    found = foreground_shares(map_foreground(mask), shape, first, size)
    expected = np.array([exact_share(mask, start, size) for start in first])
    assert np.abs(found - expected).mean() < 0.05
    assert np.corrcoef(found, expected)[0, 1] > 0.98
