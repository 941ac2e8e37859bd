"""The organs of an upper abdomen as signed distances in mm.

The origin lies in the middle of the body at the height of the liver; x points to the patient's left, y to the back,
z to the head. Organs that touch are carved out of each other here, so that the order of painting does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.demo.shapes import Array, Vector, capsule, smooth_union, superquadric

if TYPE_CHECKING:
    from nnunet_genesis.demo.scene import Scene


@dataclass(frozen=True)
class Kidney:
    """A kidney, its pelvis and the fat in which it lies, as signed distances in mm."""

    surface: Array
    pelvis: Array
    bed: Array


@dataclass(frozen=True)
class Organs:
    """Signed distances in mm of the organs of one patient.

    Attributes:
        skin: Surface of the body.
        cavity: What the ribs and the muscles of the belly enclose.
        chest: The space above both domes of the diaphragm.
        kidneys: Right and left.
        colon: Ascending, transverse and descending.
        colon_front: Height y in mm in front of which the colon holds gas.
    """

    skin: Array
    cavity: Array
    chest: Array
    liver: Array
    spleen: Array
    stomach: Array
    gallbladder: Array
    pancreas: Array
    kidneys: tuple[Kidney, Kidney]
    colon: Array
    colon_front: float


def draw_organs(scene: Scene) -> Organs:
    """Draw sizes and places of all organs of one patient."""
    points = scene.points
    cavity = superquadric(points, (0, 0, 0), scene.sized((126, 90, np.inf), 0.04), exponent=2.35)
    chest = _chest(scene)
    spleen = superquadric(points, scene.near((96, 34, 12), 6), scene.sized((27, 42, 46), 0.2), turn=-25)
    spleen = np.maximum.reduce([spleen, cavity + 3, 4 - chest])
    kidneys = (_kidney(scene, -1.0, -58.0), _kidney(scene, 1.0, -46.0))
    gallbladder = superquadric(points, scene.near((-42, -44, -34), 5), scene.sized((13, 15, 24), 0.25), turn=20)
    carved = [-kidney.bed for kidney in kidneys] + [2 - gallbladder, 2 - spleen, cavity + 3, 4 - chest]
    liver = np.maximum.reduce([_liver_lobes(scene), *carved])
    stomach = np.maximum.reduce([_stomach(scene), cavity + 4, 4 - chest, 3 - spleen, 3 - liver])
    pancreas = superquadric(points, scene.near((16, 2, -22), 5), scene.sized((58, 11, 13)), turn=-18)
    pancreas = np.maximum(pancreas + 3 * scene.texture(9), 3 - liver)
    colon, colon_front = _colon(scene)
    colon = np.maximum.reduce([colon, cavity + 4, 4 - liver])
    skin = _skin(scene, cavity)
    return Organs(
        skin, cavity, chest, liver, spleen, stomach, gallbladder, pancreas, kidneys, colon, colon_front
    )  # fmt: skip


def spine(scene: Scene) -> tuple[Array, Array]:
    """Return the signed distances in mm of the vertebral bodies and of the bony arch behind them."""
    body = superquadric(scene.points, (0, 64, 0), (23, 17, np.inf), exponent=2.2)
    ring = superquadric(scene.points, (0, 88, 0), (17, 13, np.inf))
    x, y, z = scene.points
    height = np.mod(z + 6, 34)
    spinous = superquadric(scene.points, (0, 108, 0), (4, 14, np.inf), exponent=3)
    parts = [ring, np.maximum(spinous, np.abs(height - 6) - 9)]
    parts += [capsule((x, y, height), (side * 14, 84, 6), (side * 38, 90, 6), 5) for side in (-1.0, 1.0)]
    return body, np.minimum.reduce(parts)


def ribs(scene: Scene, cavity: Array) -> Array:
    """Signed distance in mm of the ribs: they run round the cavity and sink towards the front."""
    x, y, z = scene.points
    slant = np.mod(z - 0.55 * y, 30) - 15
    # The front of the lowest ribs is cartilage or missing, their back ends at the spine.
    rib = np.maximum.reduce([np.hypot(cavity - 5, slant) - 6.5, -38 - z, 30 - np.abs(x), -62 - y])
    return np.asarray(rib, dtype=np.float32)


def _skin(scene: Scene, cavity: Array) -> Array:
    """Fat is thicker in the back and at the waist than over the ribs."""
    _, y, z = scene.points
    thickness = scene.fat * (1 + 0.25 * np.clip(y / 90, -1, 1) - 0.2 * np.clip(z / 100, -1, 1))
    return np.asarray(cavity - thickness - 13, dtype=np.float32)


def _chest(scene: Scene) -> Array:
    x, y, z = scene.points
    right = 72 - ((x + 60) / 11.5) ** 2 - ((y + 8) / 10.5) ** 2
    left = 60 - ((x - 62) / 11.5) ** 2 - ((y + 2) / 10.5) ** 2
    return np.asarray((np.maximum(right, left) - z) * np.float32(0.75), dtype=np.float32)


def _liver_lobes(scene: Scene) -> Array:
    """Two lobes, hollowed from below by bowel and stomach."""
    right = superquadric(scene.points, scene.near((-68, 0, 2), 5), scene.sized((64, 82, 84)), exponent=2.3)
    left = superquadric(scene.points, scene.near((2, -46, 34), 5), scene.sized((82, 34, 34), 0.2), turn=-10)
    hollow = superquadric(scene.points, scene.near((25, 12, -62), 6), scene.sized((76, 96, 76)))
    return np.maximum(smooth_union(right, left, 22), -hollow)


def _kidney(scene: Scene, side: float, height: float) -> Kidney:
    x, y, z = scene.near((side * 64, 46, height), 5)
    surface = superquadric(scene.points, (x, y, z), scene.sized((27, 24, 50)), turn=side * 35)
    pelvis = superquadric(scene.points, (x - side * 14, y - 5, z), (13, 9, 24), turn=side * 35)
    behind = superquadric(scene.points, (x, y + 28, z + 4), (34, 36, 58), turn=side * 35)
    return Kidney(surface, pelvis, np.minimum(surface - 6, behind))


def _stomach(scene: Scene) -> Array:
    fundus = superquadric(scene.points, scene.near((62, -8, 26), 6), scene.sized((36, 38, 36), 0.15))
    antrum = superquadric(scene.points, scene.near((34, -44, -16), 6), scene.sized((46, 24, 24), 0.15), turn=15)
    return smooth_union(fundus, antrum, 18)


def _colon(scene: Scene) -> tuple[Array, float]:
    """Return the signed distance in mm of the colon and the height y of its gas."""
    bends: list[Vector] = [
        (-88, 20, -140), (-84, 4, -84), (-30, -58, -76), (30, -62, -70), (92, 14, -36), (98, 34, -140)
    ]  # fmt: skip
    places = [scene.near(bend, 9) for bend in bends]
    parts = [capsule(scene.points, *ends, float(scene.rng.uniform(15, 21))) for ends in pairwise(places)]
    haustra = 2.5 * np.sin(scene.points[2] / 7) * np.cos(scene.points[0] / 8)
    return np.asarray(np.minimum.reduce(parts) + haustra, np.float32), places[2][1] - float(scene.rng.uniform(-6, 8))
