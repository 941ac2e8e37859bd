"""The space in which one patient is drawn: its voxels in mm, how it is bent, and what differs between patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunet_genesis.demo.shapes import Array, Points, Vector, paint, smooth_noise

_DEFORMATION_MM = (2.5, 4.5)
_DEFORMATION_LENGTH_MM = 28.0


@dataclass(frozen=True)
class Scene:
    """Where and how one patient is drawn.

    Attributes:
        straight: Coordinates of the scanner in mm, see `shapes`.
        points: The same, sized, turned and bent: the space in which organs are simple shapes.
        spacing: Distance of the voxels in mm, in the order of the axes (slices, rows, columns).
        fat: Thickness of the fat under the skin in mm.
        contrast: Phase of the contrast agent, from 0 (none) to 1 (portal-venous, bright vessels).
        liver: Hounsfield units of the healthy liver.
        rng: Source of everything random in this patient.
    """

    straight: Points
    points: Points
    spacing: Vector
    fat: float
    contrast: float
    liver: float
    rng: np.random.Generator

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of slices, rows and columns."""
        return self.points[0].shape

    def near(self, place: Vector, mm: float = 4.0) -> Vector:
        """Return the place moved by up to ``mm`` along each axis."""
        x, y, z = self.rng.uniform(-mm, mm, 3)
        return place[0] + float(x), place[1] + float(y), place[2] + float(z)

    def sized(self, half_axes: Vector, share: float = 0.1) -> Vector:
        """Return the half axes, each larger or smaller by up to ``share``."""
        x, y, z = self.rng.uniform(1 - share, 1 + share, 3)
        return half_axes[0] * float(x), half_axes[1] * float(y), half_axes[2] * float(z)

    def texture(self, length: float) -> Array:
        """Noise of unit standard deviation, correlated over ``length`` mm."""
        return smooth_noise(self.rng, self.shape, self.spacing, length)

    def paint(self, image: Array, distance: Array, value: float | Array) -> None:
        """Paint a shape in place, with an edge as wide as a voxel."""
        paint(image, distance, value, self.spacing[1])


def draw_scene(shape: tuple[int, int, int], spacing: Vector, origin: Vector, rng: np.random.Generator) -> Scene:
    """Draw a patient, thin or stout, early or late after the contrast agent, somewhat turned and bent.

    Args:
        shape: Number of slices, rows and columns.
        spacing: Distance of the voxels in mm, in the order of ``shape``.
        origin: Position of the first voxel in mm, in the order of ``shape``.
        rng: Source of everything random.
    """
    axes = [
        (first + step * np.arange(count)).astype(np.float32)
        for first, step, count in zip(origin, spacing, shape, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    angle, size = np.deg2rad(rng.uniform(-5, 5)), rng.uniform(0.97, 1.1)
    cos, sin = np.float32(np.cos(angle) / size), np.float32(np.sin(angle) / size)
    posed = (cos * x + sin * y, cos * y - sin * x, z / np.float32(size))
    amplitude = np.float32(rng.uniform(*_DEFORMATION_MM))
    bent = [part + amplitude * smooth_noise(rng, shape, spacing, _DEFORMATION_LENGTH_MM) for part in posed]
    contrast = float(rng.uniform(0.6, 1.0))
    return Scene(
        straight=(x, y, z),
        points=(bent[0], bent[1], bent[2]),
        spacing=spacing,
        fat=float(rng.uniform(9, 26)),
        contrast=contrast,
        liver=60.0 + 40.0 * contrast + float(rng.uniform(-4, 4)),
        rng=rng,
    )
