"""Keys of scans: blind to orientation and format, never to a voxel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nnunet_genesis.scans.voxel_hash import channel_keys, hash_voxels, scan_key
from tests.scans.files import voxels


@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (4, 3, 5, 4), (1, 1, 32, 40), (1, 16, 64, 64)])
def test_key_is_the_same_for_every_orientation(shape: tuple[int, ...]) -> None:
    array = voxels(shape).astype(np.float32)
    keys = set()
    for axes in itertools.permutations((1, 2, 3)):
        turned = array.transpose(0, *axes)
        for flips in itertools.product((1, -1), repeat=3):
            keys.add(scan_key(turned[:, :: flips[0], :: flips[1], :: flips[2]]))
    assert keys == {scan_key(array)}
    assert scan_key(array).startswith("x".join(str(size) for size in sorted(shape[1:])) + ":")
    assert len({hash_voxels(array[:, ::step]) for step in (1, -1)}) == (1 if shape[1] == 1 else 2)


def test_one_voxel_the_shape_and_the_order_of_channels_count() -> None:
    array = voxels((2, 3, 5, 4)).astype(np.float32)
    changed = array.copy()
    changed[1, 2, 4, 3] = np.nextafter(changed[1, 2, 4, 3], np.inf)
    different = [array, changed, array.reshape(2, 3, 2, 10), array[::-1], array[:1]]
    assert len({scan_key(image) for image in different}) == len(different)
    assert len({hash_voxels(image) for image in different}) == len(different)


def test_type_of_the_voxels_and_negative_zero_do_not_count() -> None:
    array = voxels((1, 3, 5, 4))
    array[0, 0, 0, :2] = 0
    negative = array.astype(np.float64)
    negative[0, 0, 0, 0] = -0.0
    assert scan_key(array) == scan_key(negative) == scan_key(array.astype(">f4"))
    assert hash_voxels(array) == hash_voxels(np.asfortranarray(array.astype(np.float64)))
    assert np.signbit(negative[0, 0, 0, 0])


def test_a_mask_beside_an_image_tells_no_patient_and_alone_it_does() -> None:
    """A template's mask is that of everybody, and masks of equally many voxels have the same sorted values."""
    first, second = voxels((2, 1, 16, 32, 32)).astype(np.float32)
    mask = np.zeros((1, 16, 32, 32), np.float32)
    mask[:, 4:12, 8:24, 8:24] = 1
    one, other = (scan_key(np.concatenate([image, mask])) for image in (first, second))
    assert one != other
    assert channel_keys(one) == {scan_key(first)}
    assert channel_keys(one).isdisjoint(channel_keys(other))
    assert channel_keys(scan_key(mask)) == {scan_key(mask)}
    assert channel_keys(scan_key(mask * 0)) == set()
