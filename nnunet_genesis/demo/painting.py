"""Paint a patient in the Hounsfield units of a contrast-enhanced CT, from the outside to the inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.demo.anatomy import Organs, ribs, spine
from nnunet_genesis.demo.lesions import Tumour, portal_vein
from nnunet_genesis.demo.shapes import Array, capsule, paint, superquadric

if TYPE_CHECKING:
    from nnunet_genesis.demo.scene import Scene

AIR = -1000.0
LUNG = -830.0
GAS = -900.0
FAT = -105.0
MUSCLE = 52.0
_RIM_MM = 3.0


def paint_patient(scene: Scene, organs: Organs, tumours: list[Tumour]) -> Array:
    """Return the image in Hounsfield units, of shape (slices, rows, columns), without noise."""
    image = np.full(scene.shape, AIR, dtype=np.float32)
    _paint_trunk(image, scene, organs)
    _paint_bowel(image, scene, organs)
    _paint_organs(image, scene, organs)
    _paint_liver(image, scene, organs.liver, tumours)
    _paint_chest(image, scene, organs)
    _paint_bones(image, scene, organs.cavity)
    return image


def _paint_trunk(image: Array, scene: Scene, organs: Organs) -> None:
    """Paint the couch, skin and fat, the muscles, and the fat that fills the cavity."""
    x, y, _ = scene.straight
    couch = np.abs(y - (150 - 0.8 * (x / 26) ** 2)) - 3
    scene.paint(image, np.maximum(couch, np.abs(x) - 150), -420)
    scene.paint(image, organs.skin, FAT + 8 * scene.texture(8))
    back = [superquadric(scene.points, (side * 36, 92, 0), (34, 20, np.inf), exponent=2.4) for side in (-1, 1)]
    muscles = [organs.cavity - 12, *(np.maximum(muscle, organs.skin + 6) for muscle in back)]
    scene.paint(image, np.minimum.reduce(muscles), MUSCLE)
    scene.paint(image, organs.cavity, FAT + 12 * scene.texture(10))
    for side in (-1, 1):
        scene.paint(image, superquadric(scene.points, (side * 36, 60, -110), (17, 20, 80)), MUSCLE)


def _paint_bowel(image: Array, scene: Scene, organs: Organs) -> None:
    """Paint loops of small bowel, some with gas in front, into the fat of the lower abdomen, then the colon."""
    rng, edge = scene.rng, scene.spacing[1]
    below = scene.points[2] < -10
    x, y, z = (point[below] for point in scene.points)
    limit = organs.cavity[below] + 4
    part = image[below]
    for _ in range(26):
        start = (float(rng.uniform(-100, 100)), float(rng.uniform(-70, 25)), float(rng.uniform(-150, -38)))
        step = rng.uniform((-32, -16, -32), (32, 16, 32))
        end = (start[0] + float(step[0]), start[1] + float(step[1]), start[2] + float(step[2]))
        radius = float(rng.uniform(9, 16))
        loop = np.maximum(capsule((x, y, z), start, end, radius), limit)
        paint(part, loop - 1, FAT, edge)
        paint(part, loop, 48 + 30 * scene.contrast, edge)
        paint(part, loop + 3, float(rng.uniform(10, 60)), edge)
        if rng.uniform() < 0.3:
            paint(part, np.maximum(loop + 3, y - (start[1] - 0.2 * radius)), GAS, edge)
    image[below] = part
    stool = scene.texture(7)
    scene.paint(image, organs.colon - 2, FAT)
    scene.paint(image, organs.colon, 45 + 25 * scene.contrast)
    scene.paint(image, organs.colon + 4, 20 + 45 * stool - 500 * np.clip(stool - 1, 0, 1))
    scene.paint(image, np.maximum(organs.colon + 4, scene.points[1] - organs.colon_front), GAS)


def _paint_organs(image: Array, scene: Scene, organs: Organs) -> None:
    """Paint pancreas, spleen, stomach, gallbladder and kidneys."""
    contrast = scene.contrast
    scene.paint(image, organs.pancreas, 42 + 45 * contrast)
    scene.paint(image, organs.spleen, 50 + 65 * contrast + 2 * scene.texture(8))
    scene.paint(image, organs.stomach, 45 + 30 * contrast)
    scene.paint(image, organs.stomach + 5, 18 + 12 * scene.texture(9))
    level = scene.straight[1] - float(scene.rng.uniform(-62, -34))
    scene.paint(image, np.maximum(organs.stomach + 5, level), GAS)
    scene.paint(image, organs.gallbladder, 8)
    for kidney in organs.kidneys:
        scene.paint(image, np.maximum(kidney.bed, organs.cavity + 4), FAT)
        scene.paint(image, kidney.surface, 34 + 130 * contrast)
        scene.paint(image, kidney.surface + 9, 32 + 95 * contrast)
        scene.paint(image, kidney.pelvis, -70)


def _paint_liver(image: Array, scene: Scene, liver: Array, tumours: list[Tumour]) -> None:
    """Paint the liver, its vessels and its tumours."""
    scene.paint(image, liver, scene.liver + 4 * scene.texture(7) + 3 * scene.texture(25))
    inside = liver < 0
    x, y, z = (point[inside] for point in scene.points)
    vein = np.full(scene.shape, np.inf, dtype=np.float32)
    vein[inside] = portal_vein((x, y, z), scene.rng)
    scene.paint(image, np.maximum(vein, liver + 4), scene.liver - 10 + 75 * scene.contrast)
    for tumour in tumours:
        value = scene.liver + tumour.contrast
        core = tumour.distance
        if tumour.rim:
            scene.paint(image, tumour.distance, scene.liver + tumour.rim)
            core = tumour.distance + _RIM_MM
        scene.paint(image, core, value + 4 * scene.texture(6))
        paint(image, core + 6, value - tumour.necrosis, 2 * scene.spacing[1])


def _paint_chest(image: Array, scene: Scene, organs: Organs) -> None:
    """Paint the great vessels, the heart, and the lungs round them."""
    blood = 42 + 120 * scene.contrast
    heart = superquadric(scene.points, scene.near((22, -30, 82)), scene.sized((52, 42, 40)), turn=20)
    aorta = superquadric(scene.points, scene.near((14, 36, 0), 3), (11, 11, np.inf))
    cava = superquadric(scene.points, scene.near((-20, 30, 0), 3), (13, 10, np.inf))
    cava = np.maximum(cava, -organs.chest - 20)
    texture = scene.texture(9)
    lungs = np.maximum.reduce([organs.cavity + 2, organs.chest, -heart + 1, -aorta + 1, -cava + 1])
    scene.paint(image, lungs, LUNG + 40 * texture + 260 * np.clip(texture - 1.6, 0, 1))
    scene.paint(image, heart, blood - 10)
    scene.paint(image, aorta, blood + 10)
    scene.paint(image, cava, blood - 15)


def _paint_bones(image: Array, scene: Scene, cavity: Array) -> None:
    """Paint vertebrae with their discs, the spinal canal, and the ribs."""
    body, arch = spine(scene)
    disc = np.maximum(body, np.abs(np.mod(scene.points[2] + 6, 34) - 17) - 4)
    scene.paint(image, body, 430)
    scene.paint(image, body + 4, 210)
    scene.paint(image, disc, 85)
    scene.paint(image, arch, 410)
    scene.paint(image, superquadric(scene.points, (0, 87, 0), (10, 8, np.inf)), 25)
    rib = ribs(scene, cavity)
    scene.paint(image, rib, 480)
    scene.paint(image, rib + 3.5, 260)
