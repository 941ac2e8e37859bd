"""Hashes of voxels: equal for equal images, whatever their file's name, format or header."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.scans.label_maps import count_few_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_CONSTANT, _FEW = "constant", "few-"


def hash_voxels(array: npt.NDArray[np.generic]) -> str:
    """SHA-256 (hex) of an image as it lies in memory.

    Args:
        array: Image (channels, *spatial).

    Returns:
        Digest over the shape and the float32 voxels in C order: it changes with flips and with the order of axes.
    """
    image = np.ascontiguousarray(array, dtype="<f4")
    digest = hashlib.sha256(repr(tuple(int(size) for size in image.shape)).encode())
    digest.update(image.data)
    return digest.hexdigest()


def scan_key(array: npt.NDArray[np.generic]) -> str:
    """Key of a scan that does not depend on how its axes were stored.

    The same scan reaches a folder in several ways, and they do not agree on the order of the axes: dcm2niix, for
    example, flips the rows that SimpleITK reads from the same DICOM series, and tools reorient images to RAS or LPS. A
    leak of validation cases must be seen all the same, so the key is made of what no flip and no change of axes
    touches: the sizes of the spatial axes, sorted, and per channel the sorted values.

    Args:
        array: Raw image (channels, *spatial), before any resampling or normalisation. The order of channels counts.

    Returns:
        For example ``35x36x51:HEX``, with several channels ``35x36x51:HEX+HEX``, ``constant`` for a channel that
        holds nothing, and ``few-HEX`` for one that looks like a mask. Two different scans with equal sizes and equal
        histograms to the last bit would share a key; real scans do not, but masks do.
    """
    image = np.asarray(array, dtype="<f4")
    digests = []
    for channel in image:
        values = np.sort(channel, axis=None)
        values += 0.0  # -0.0 becomes 0.0: formats that store integers have no negative zero
        is_constant = not values.size or values[0] == values[-1]
        mark = _FEW if count_few_values(values) else ""
        digests.append(_CONSTANT if is_constant else f"{mark}{hashlib.sha256(values.data).hexdigest()}")
    return shape_part(image.shape[1:]) + ":" + "+".join(digests)


def channel_keys(key: str) -> set[str]:
    """Keys that the channels of a scan would have alone, without channels that hold nothing.

    A scan of one channel may be a channel of another dataset's scan of several. Masks beside an image are left out: two
    patients may have the same one, and masks of one size with equally many voxels have the same key.
    """
    shape, _, digests = key.partition(":")
    telling = {digest for digest in digests.split("+") if digest not in {"", _CONSTANT}}
    images = {digest for digest in telling if not digest.startswith(_FEW)}
    return {f"{shape}:{digest}" for digest in images or telling}


def shape_part(shape: Sequence[int]) -> str:
    """The beginning of `scan_key` for spatial axes of these sizes, up to the colon."""
    return "x".join(str(size) for size in sorted(shape))
