"""Crops, against slicing the padded scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from nnunet_genesis.pretraining.case_files import read_whole
from nnunet_genesis.pretraining.crop_reading import read_crop, read_resized
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("first", [(0, 0, 0), (-3, 30, 5), (6, -10, 28), (50, 0, 0), (-9, 0, 0)])
def test_crops_are_what_slicing_the_padded_scan_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[int, int, int]
) -> None:
    case = smooth_cases(1, (10, 40, 36), channels=2)
    file = write_dataset(tmp_path, case, (8, 16, 16), monkeypatch) / "nnUNetPlans_cases" / "case_000.b2nd"
    whole, size = read_whole(file), (8, 16, 12)
    padded = np.pad(whole, ((0, 0), (60, 60), (60, 60), (60, 60)))
    part = tuple(slice(60 + start, 60 + start + side) for start, side in zip(first, size, strict=True))
    crop, inside = read_crop(file, (10, 40, 36), first, size)
    np.testing.assert_array_equal(crop.numpy(), padded[(slice(None), *part)])
    shown = np.pad(np.ones(whole.shape[1:]), 60)[part]
    mask = np.zeros(size)
    mask[tuple(slice(a, b) for a, b in inside)] = 1
    np.testing.assert_array_equal(mask, shown)
    same, same_inside = read_resized(file, (10, 40, 36), [float(start) for start in first], (1.0, 1.0, 1.0), size)
    torch.testing.assert_close(same, crop, atol=1e-6, rtol=0)
    assert same_inside == inside


def test_resized_crops_are_padding_where_the_scan_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = {"case_000": np.ones((1, 6, 20, 20), dtype=np.float32)}
    file = write_dataset(tmp_path, case, (4, 8, 8), monkeypatch) / "nnUNetPlans_cases" / "case_000.b2nd"
    crop, inside = read_resized(file, (6, 20, 20), (0.0, -2.1, 10.5), (1.0, 1.25, 0.75), (4, 8, 16))
    # Along y, voxel 0 covers [-2.1, -0.85] and voxel 1 [-0.85, 0.4]; along x, 12 voxels of 0.75 end at 19.5.
    assert inside == [(0, 4), (2, 8), (0, 12)]
    expected = torch.zeros(1, 4, 8, 16)
    expected[0, :, 2:, :12] = 1
    torch.testing.assert_close(crop, expected)
