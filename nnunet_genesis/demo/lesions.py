"""What lies inside the liver: its vessels and its tumours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.demo.shapes import Array, Points, Vector, capsule, superquadric

if TYPE_CHECKING:
    from nnunet_genesis.demo.scene import Scene

TUMOUR_RADIUS = (8.0, 22.0, 25.0)  # smallest, most common, largest, in mm
TUMOUR_CONTRAST = (20.0, 40.0)
_BRIGHT_SHARE = 0.08
_RIM_SHARE = 0.35
_CUT_OFF_SLICES = 4


@dataclass(frozen=True)
class Tumour:
    """One tumour.

    Attributes:
        distance: Signed distance in mm of its surface.
        contrast: Hounsfield units by which it differs from the liver; negative is darker.
        rim: Hounsfield units by which a rim of 3 mm differs from the liver; there is none for 0.
        necrosis: Hounsfield units by which its core is darker still.
    """

    distance: Array
    contrast: float
    rim: float
    necrosis: float


def portal_vein(points: Points, rng: np.random.Generator) -> Array:
    """Signed distance in mm to a portal vein that enters the liver at the hilum and branches twice."""
    distance = np.full(points[0].shape, np.inf, dtype=np.float32)
    hilum: Vector = (-28.0, 2.0, 6.0)
    trunks: list[Vector] = [(-1.0, 0.1, 0.1), (-0.8, 0.5, -0.6), (-0.7, -0.5, 0.6), (0.7, -0.8, 0.6), (-0.6, 0.5, 0.7)]
    branches = [(hilum, np.asarray(trunk), 6.5, 34.0) for trunk in trunks]
    while branches:
        start, heading, radius, length = branches.pop()
        heading = heading + rng.normal(0, 0.25, 3)
        heading = heading / np.linalg.norm(heading)
        x, y, z = np.add(start, heading * length)
        end = (float(x), float(y), float(z))
        distance = np.minimum(distance, capsule(points, start, end, radius))
        if length > 25:
            branches += [(end, heading + rng.normal(0, 0.6, 3), radius * 0.72, length * 0.8) for _ in range(2)]
    return distance


def draw_tumours(scene: Scene, liver: Array, count: int) -> list[Tumour]:
    """Draw tumours with their centres well inside the liver.

    Args:
        scene: The patient.
        liver: Signed distance of the liver in mm.
        count: Number of tumours.

    Returns:
        Tumours; they may touch each other, as metastases do.
    """
    rng = scene.rng
    wobble = scene.texture(11)
    # A tumour's centre in the outermost slices would leave a sliver of it.
    depth = -liver
    depth[:_CUT_OFF_SLICES] = depth[-_CUT_OFF_SLICES:] = -np.inf
    tumours = []
    for _ in range(count):
        radius = float(rng.triangular(*TUMOUR_RADIUS))
        chosen = int(rng.choice(np.flatnonzero(depth > min(0.6 * radius, 0.9 * float(depth.max())))))
        x, y, z = (float(point.flat[chosen]) for point in scene.points)
        ball = superquadric(scene.points, (x, y, z), scene.sized((radius, radius, radius), 0.15))
        outline = np.maximum(ball + np.float32(0.12 * radius) * wobble, liver + 0.5)
        contrast = float(rng.uniform(*TUMOUR_CONTRAST))
        bright = rng.uniform() < _BRIGHT_SHARE
        rim = float(rng.uniform(5, 25)) if rng.uniform() < _RIM_SHARE and not bright else 0.0
        necrosis = float(rng.uniform(10, 30)) if radius > 12 and not bright else 0.0
        tumours.append(Tumour(outline, contrast if bright else -contrast, rim, necrosis))
    return tumours
