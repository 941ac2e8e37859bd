"""Patches at several scales: where they lie, what they show, and what their labels do not tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nnunet_genesis.pretraining.crop_reading import read_crop, read_resized
from nnunet_genesis.pretraining.data import StepSampler, build_loader
from nnunet_genesis.pretraining.resampling import Coarsening
from nnunet_genesis.pretraining.scales.carrying import SCALES, carried
from nnunet_genesis.pretraining.scales.patches import NO_LABEL, ScaledPatches
from nnunet_genesis.pretraining.scales.sharpness import SCANNER_BLUR, Sharpness
from tests.indices import written_index
from tests.preprocessed import smooth_cases, write_dataset

if TYPE_CHECKING:
    from pathlib import Path

SLOPES = np.array([3.0, 2.0, 1.0])


def ramp(shape: tuple[int, ...], channels: int = 1) -> npt.NDArray[np.float32]:
    """Every voxel tells where it is: the value grows by `SLOPES` per voxel, and by 1000 per channel."""
    grids = np.meshgrid(*[np.arange(side) + 0.5 for side in shape], indexing="ij", sparse=True)
    image = sum(slope * grid for slope, grid in zip(SLOPES, grids, strict=True))
    return np.stack([image + 1000 * channel for channel in range(channels)]).astype(np.float32)


class Written:
    """Cases on disk as one source."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch, self.count = root, monkeypatch, 0

    def __call__(
        self, images: list[npt.NDArray[np.float32]], patch_size: tuple[int, ...], **settings: object
    ) -> ScaledPatches:
        cases = {f"case_{number:03d}": image for number, image in enumerate(images)}
        self.count += 1
        folder = write_dataset(self.root / str(self.count), cases, patch_size, self.monkeypatch)
        index = written_index(folder / "nnUNetPlans_cases", cases)
        values: dict[str, object] = {"max_background_share": 1.0, "seed": (5, 3), "sharp_share": 0.0, **settings}
        return ScaledPatches([index], [1.0], patch_size, **values)  # type: ignore[arg-type]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    return Written(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("shape", "patch_size", "channels"),
    [
        ((36, 540, 530), (16, 256, 256), 1),
        ((40, 60, 90), (16, 24, 40), 4),
        ((35, 35, 35), (15, 13, 17), 1),
        ((9, 60, 70), (24, 32), 3),
    ],
)
def test_crops_of_all_scales_show_the_same_centre_with_larger_steps(
    written: Written, shape: tuple[int, ...], patch_size: tuple[int, ...], channels: int
) -> None:
    patches = written([ramp(shape, channels)], patch_size)
    axes, seen = len(patch_size), set()
    for number in range(9 if max(shape) > 100 else 40):
        place = patches.locate(number)
        voxels, inside, labels = patches[number]
        assert voxels.shape == (channels, *patch_size)
        assert inside.tolist() == [[0, side] for side in patch_size], "a larger crop never adds padding"
        assert labels == {"source": 0, "scale": place.scale}
        size = (1,) * (3 - axes) + patch_size
        centre = float(SLOPES @ (np.array(place.first_voxel) + np.array(size) / 2))
        # Interpolation ends with the last cell: away from the borders by a quarter, all is linear.
        inner = tuple(slice(side // 4, side - side // 4) for side in patch_size)
        for channel in range(channels):
            image = voxels[channel].numpy() - 1000 * channel
            assert image[inner].mean() == pytest.approx(centre, abs=0.1), "a twentieth of a voxel"
            for axis, slope in enumerate(SLOPES[-axes:]):
                steps = np.diff(image[inner], axis=axis).mean()
                assert steps == pytest.approx(slope * SCALES[place.scale], rel=0.03)
        seen.add(place.scale)
    assert seen == {0, 1, 2}


def test_labels_are_balanced_and_tell_neither_case_nor_place(written: Written) -> None:
    patches = written([ramp((20, 20, 20)), ramp((16, 40, 30))], (8, 8, 8))
    places = [patches.locate(number) for number in range(3000)]
    counts = Counter((place.case, place.label) for place in places)
    for case in (0, 1):
        for scale in range(3):
            assert counts[case, scale] == pytest.approx(500, abs=90)
    firsts = [np.array([place.first_voxel for place in places if place.label == scale]) for scale in range(3)]
    for scale in range(3):
        assert firsts[scale].min(0).tolist() == [4, 4, 4]
        np.testing.assert_allclose(firsts[scale].mean(0), firsts[0].mean(0), atol=1.0)


def test_scans_that_cannot_carry_all_scales_get_no_label(written: Written) -> None:
    """The second can carry 1.5, the third is too thin along one axis, the fourth is smaller than the patch."""
    shapes = [(32, 32, 32), (24, 31, 31), (20, 99, 99), (10, 32, 99)]
    patches = written([ramp(shape) for shape in shapes], (16, 16, 16))
    scales: dict[int, set[int]] = {case: set() for case in range(4)}
    labels: dict[int, set[int]] = {case: set() for case in range(4)}
    for number in range(200):
        place = patches.locate(number)
        scales[place.case].add(place.scale)
        labels[place.case].add(place.label)
        assert patches[number][2]["scale"] == place.label
    assert scales == {0: {0, 1, 2}, 1: {0, 1}, 2: {0}, 3: {0}}
    assert labels == {0: {0, 1, 2}, 1: {NO_LABEL}, 2: {NO_LABEL}, 3: {NO_LABEL}}
    assert patches.labelled_share == 0.25


def test_what_a_scan_can_carry_is_what_needs_no_padding() -> None:
    """Against counting: some first voxel must exist with the whole crop around it."""
    size = (7, 8, 1)
    for num_axes in (2, 3):
        shapes = np.array([(z, y, x) for z in (6, 7, 13, 15) for y in (8, 12, 16) for x in (1, 2, 3)], dtype=np.int32)
        for shape, possible in zip(shapes.tolist(), carried(shapes, size, num_axes), strict=True):
            for scale, answer in zip(SCALES[1:], possible[1:], strict=True):
                fits = [
                    any(
                        first - side * (scale - 1) / 2 >= 0 and first + side * (scale + 1) / 2 <= length
                        for first in range(length)
                    )
                    for side, length in zip(size, shape, strict=True)
                ]
                assert bool(answer) == all(fits[3 - num_axes :]), (shape, scale)
            assert possible[0], "scale 1 is always carried"


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 200, 2), (10, 40, 36)])
def test_padding_is_reported_and_stays_zero(written: Written, shape: tuple[int, ...]) -> None:
    patches = written([ramp(shape, 4) + 1], (8, 32, 24))
    for number in range(20):
        voxels, inside, labels = patches[number]
        assert labels["scale"] == NO_LABEL
        box = (slice(None), *(slice(first, stop) for first, stop in inside.tolist()))
        assert (inside[:, 1] - inside[:, 0]).tolist() == [min(pair) for pair in zip(shape, (8, 32, 24), strict=True)]
        assert (voxels[box] >= 1).all(), "no zeros of the padding are mixed in"
        assert voxels.count_nonzero() == voxels[box].count_nonzero()


def test_sharp_patches_are_read_as_they_are(written: Written) -> None:
    cases = list(smooth_cases(2, (20, 50, 40), channels=2).values())
    patches = written(cases, (8, 16, 16), sharp_share=0.5)
    sharp = 0
    for number in range(200):
        place = patches.locate(number)
        if place.sharpness is None:
            sharp += 1
            voxels, _, labels = patches[number]
            part = tuple(slice(first, first + side) for first, side in zip(place.first_voxel, (8, 16, 16), strict=True))
            np.testing.assert_array_equal(voxels.numpy(), cases[place.case][(slice(None), *part)])
            assert labels["scale"] == NO_LABEL
    assert 75 < sharp < 125
    assert patches.labelled_share == 0.5


def test_fine_detail_is_gone_at_every_scale_and_coarse_detail_stays(written: Written) -> None:
    """Waves along x of two periods in voxels of the patch, one finer than any cell."""
    x = np.arange(120)
    for scale, step in enumerate(SCALES):
        kept = {}
        for period in (2.2, 32.0):
            wave = np.sin(2 * np.pi * x / (period * step)).astype(np.float32)
            image = np.broadcast_to(wave, (1, 60, 60, 120)).copy()
            patches = written([image], (16, 16, 48))
            chosen = [number for number in range(60) if patches.locate(number).scale == scale][:12]
            kept[period] = np.mean([patches[number][0].numpy().std() / np.sqrt(0.5) for number in chosen])
        assert kept[2.2] < 0.12
        assert kept[32.0] > 0.8


def test_a_scanners_point_is_equally_wide_at_every_scale(written: Written) -> None:
    """A point that the scanner blurred as assumed, in the middle of a slice, has the width that was drawn."""
    x = np.arange(120) - 60 + 0.5
    point = np.exp(-0.5 * np.square(x / SCANNER_BLUR))
    image = np.broadcast_to(point[:, None] * point, (1, 3, 120, 120)).astype(np.float32)
    patches = written([image], (48, 48))
    place = replace(patches.locate(0), first_voxel=(1, 36, 36), sharpness=Sharpness(1.0, 1.6))
    position = np.arange(48) + 0.5 - 24
    for scale in range(3):
        profile = patches.read(replace(place, scale=scale))[0][0].double().sum(0).numpy()
        assert (profile * position).sum() / profile.sum() == pytest.approx(0, abs=1e-3)
        assert np.sqrt((profile * position**2).sum() / profile.sum()) == pytest.approx(1.6, rel=0.02)


def test_one_step_is_blurring_sampling_and_interpolating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against scipy and torch: a Gaussian on the scan, every fourth voxel, bilinear interpolation."""
    from scipy.ndimage import gaussian_filter

    case = smooth_cases(1, (64, 72, 80), channels=2)
    file = write_dataset(tmp_path, case, (8, 16, 16), monkeypatch) / "nnUNetPlans_cases" / "case_000.b2nd"
    size, first = (16, 20, 24), (12, 9, 17)
    resized, _ = read_resized(
        file,
        (64, 72, 80),
        first,
        (2.0, 2.0, 2.0),
        size,
        coarsening=[Coarsening(cells, 1.7) for cells in (8, 10, 12)],
    )
    # A larger cell is 4 voxels; its middle lies between the second and the third, whose mean is a blur of 0.25 squared.
    sigma = np.sqrt(1.7**2 - 0.25)
    blurred = gaussian_filter(case["case_000"].astype(np.float64), (0, sigma, sigma, sigma), truncate=6)
    both = np.stack([np.roll(blurred, (-z, -y, -x), (1, 2, 3)) for z in (0, 1) for y in (0, 1) for x in (0, 1)]).mean(0)
    cells = both[:, 13:45:4, 10:50:4, 18:66:4]
    expected = torch.nn.functional.interpolate(torch.from_numpy(cells)[None], size, mode="trilinear")[0]
    assert (resized - expected).abs().max() < 0.02
    plain, _ = read_crop(file, (64, 72, 80), first, size)
    assert (resized - plain).abs().max() > 0.5


def test_patch_is_a_function_of_seed_and_index_whatever_the_workers(written: Written) -> None:
    patches = written(list(smooth_cases(4, (20, 40, 40)).values()), (8, 16, 16), sharp_share=0.5)
    alone = list(build_loader(patches, StepSampler(0, 5, 2), workers=0, pin_memory=False))
    shared = list(build_loader(patches, StepSampler(0, 5, 2), workers=2, pin_memory=False))
    assert len(alone) == len(shared) == 5
    for (voxels, inside, labels), (other_voxels, other_inside, other_labels) in zip(alone, shared, strict=True):
        assert torch.equal(voxels, other_voxels)
        assert torch.equal(inside, other_inside)
        assert torch.equal(labels["scale"], other_labels["scale"])
        assert torch.equal(labels["source"], other_labels["source"])
    first = patches[3][0]
    patches.seed = (6, 3)
    assert not torch.equal(first, patches[3][0])


def test_background_is_avoided_by_the_crops_of_all_scales(written: Written) -> None:
    image = np.full((1, 40, 96, 96), -2.0, dtype=np.float32)
    image[:, :, 48:, 48:] = 1
    patches = written([image], (8, 20, 20))
    patches.indices[0].foreground[:] = 0
    patches.indices[0].foreground[:, :, 4:, 4:] = 255
    patches.max_background_share = 0.5
    found = [patches.locate(number).foreground for number in range(100)]
    assert np.mean(np.array(found) >= 0.5) > 0.9, "16 tries do not always find one"
    patches.max_background_share = 1.0
    assert np.mean([patches.locate(number).foreground >= 0.5 for number in range(100)]) < 0.4
