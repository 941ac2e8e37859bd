"""Hashes of voxels: equal for equal images, whatever their file's name, format or header."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_CONSTANT = "constant"


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
        For example ``35x36x51:HEX``, with several channels ``35x36x51:HEX+HEX``, and ``constant`` for a channel that
        holds nothing. Two different scans with equal sizes and equal histograms to the last bit would share a key;
        real scans do not.
    """
    image = np.asarray(array, dtype="<f4")
    digests = []
    for channel in image:
        values = np.sort(channel, axis=None)
        values += 0.0  # -0.0 becomes 0.0: formats that store integers have no negative zero
        is_constant = not values.size or values[0] == values[-1]
        digests.append(_CONSTANT if is_constant else hashlib.sha256(values.data).hexdigest())
    return shape_part(image.shape[1:]) + ":" + "+".join(digests)


def channel_keys(key: str) -> set[str]:
    """Keys that the channels of a scan would have alone, without channels that hold nothing.

    A scan of one channel may be a channel of another dataset's scan of several.
    """
    shape, _, digests = key.partition(":")
    return {f"{shape}:{digest}" for digest in digests.split("+") if digest not in {"", _CONSTANT}}


def shape_part(shape: Sequence[int]) -> str:
    """The beginning of `scan_key` for spatial axes of these sizes, up to the colon."""
    return "x".join(str(size) for size in sorted(shape))
