"""Analytic shapes as signed distances: negative inside, zero on the surface, in mm.

The distances are exact for capsules and first-order accurate near the surface for superquadrics; that is all that
painting with a soft edge needs. All functions take ``points``, the patient coordinates (x to the left, y to the back,
z to the head) of every voxel in mm, as three arrays of one shape (slices, rows, columns).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array: TypeAlias = NDArray[np.float32]
Points: TypeAlias = tuple[Array, Array, Array]
Vector: TypeAlias = tuple[float, float, float]

_TINY = np.float32(1e-6)


def superquadric(points: Points, centre: Vector, half_axes: Vector, exponent: float = 2.0, turn: float = 0.0) -> Array:
    """Signed distance to a superquadric (an ellipsoid for exponent 2, towards a box for larger ones).

    Args:
        points: Coordinates in mm, see the module.
        centre: Centre (x, y, z) in mm.
        half_axes: Half the extent along x, y, z in mm; ``inf`` makes a cylinder along that axis.
        exponent: Roundness, at least 1.
        turn: Rotation about z in degrees.

    Returns:
        Signed distance in mm, of the shape of one coordinate array.
    """
    angle = np.deg2rad(turn)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y, z = (point - np.float32(middle) for point, middle in zip(points, centre, strict=True))
    turned = (cos * x + sin * y, cos * y - sin * x, z)
    power = np.zeros_like(x)
    slope = np.zeros_like(x)
    for offset, half in zip(turned, half_axes, strict=True):
        if np.isinf(half):
            continue
        scaled = np.abs(offset) / np.float32(half)
        power += scaled**exponent
        slope += (scaled ** (exponent - 1) / np.float32(half)) ** 2
    radius = np.maximum(power, _TINY) ** np.float32(1 / exponent)
    gradient = np.sqrt(slope) * radius ** np.float32(1 - exponent)
    return np.asarray((radius - 1) / np.maximum(gradient, _TINY), dtype=np.float32)


def capsule(points: Points, start: Vector, end: Vector, radius: float) -> Array:
    """Signed distance in mm to a tube of this radius in mm with round ends at ``start`` and ``end``."""
    axis = np.subtract(end, start).astype(np.float32)
    offsets = [point - np.float32(first) for point, first in zip(points, start, strict=True)]
    along = sum(offset * part for offset, part in zip(offsets, axis, strict=True)) / max(float(axis @ axis), 1e-6)
    along = np.clip(along, 0, 1)
    squared = sum((offset - along * part) ** 2 for offset, part in zip(offsets, axis, strict=True))
    return np.asarray(np.sqrt(squared) - np.float32(radius), dtype=np.float32)


def smooth_union(first: Array, second: Array, blend: float) -> Array:
    """Union of two shapes whose seam is rounded over ``blend`` mm."""
    weight = np.clip(0.5 + 0.5 * (second - first) / np.float32(blend), 0, 1)
    union = second + (first - second) * weight - np.float32(blend) * weight * (1 - weight)
    return np.asarray(union, dtype=np.float32)


def paint(image: Array, distance: Array, value: float | Array, edge: float) -> None:
    """Paint a shape into the image, in place, mixing both values over the edge as the partial-volume effect does.

    Args:
        image: Image in Hounsfield units.
        distance: Signed distance of the shape in mm.
        value: Hounsfield units inside the shape, one value or one per voxel.
        edge: Width in mm over which the shape fades into what is there.
    """
    share = np.clip(0.5 - distance / np.float32(edge), 0, 1)
    image += share * (value - image)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], spacing: Vector, length: float) -> Array:
    """Gaussian noise of zero mean and unit standard deviation, correlated over ``length`` mm.

    Args:
        rng: Source of the noise.
        shape: Shape (slices, rows, columns) of the field.
        spacing: Distance of the voxels in mm, in the order of ``shape``.
        length: Standard deviation of the Gaussian kernel in mm.

    Returns:
        Field of the given shape.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(white, [length / step for step in spacing], mode="wrap")
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), dtype=np.float32)
