"""One synthetic abdominal CT with its liver and tumours, as a pure function of a seed.

Organs are analytic shapes in mm (`anatomy`) in a space that is bent by a smooth random deformation (`scene`); they are
painted in Hounsfield units with soft edges and textures (`painting`) and covered with partly correlated noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from scipy import ndimage

from nnunet_genesis.demo.anatomy import draw_organs
from nnunet_genesis.demo.lesions import draw_tumours
from nnunet_genesis.demo.painting import paint_patient
from nnunet_genesis.demo.scene import draw_scene
from nnunet_genesis.demo.shapes import Array, Vector, smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

Split: TypeAlias = Literal["labelled", "unlabelled", "test"]
SPLITS: tuple[Split, ...] = ("labelled", "unlabelled", "test")

BACKGROUND, LIVER, TUMOUR = 0, 1, 2

_ROWS = 72
_SLICES = (40, 48)
_IN_PLANE_MM = (4.6, 5.1)
_SLICE_MM = (4.0, 6.0)
_MIDDLE_MM = ((-18, -8, -8), (2, 8, 8))
_NOISE_HU = (10.0, 15.0)
_TUMOURS: dict[Split, tuple[int, int]] = {"labelled": (2, 4), "unlabelled": (0, 4), "test": (2, 4)}


@dataclass(frozen=True)
class SyntheticCT:
    """One scan with its segmentation.

    Attributes:
        image: Hounsfield units, int16, of shape (slices, rows, columns): from feet to head, front to back, and from
            the patient's right to left.
        segmentation: Labels 0 background, 1 liver, 2 tumour, uint8, of the same shape.
        spacing: Distance of the voxels in mm, in the order of the axes.
        origin: Position in mm of the first voxel, in the order of the axes.
    """

    image: NDArray[np.int16]
    segmentation: NDArray[np.uint8]
    spacing: Vector
    origin: Vector


def make_case(seed: int, split: Split, index: int) -> SyntheticCT:
    """Make one case.

    Args:
        seed: Seed of the data set.
        split: ``labelled`` and ``test`` cases have two to four tumours, ``unlabelled`` ones none to four.
        index: Number of the case within its split.

    Returns:
        The scan; the same arguments give the same bytes, whatever was made before.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    shape = (int(rng.integers(_SLICES[0], _SLICES[1] + 1)), _ROWS, _ROWS)
    in_plane = round(float(rng.uniform(*_IN_PLANE_MM)), 3)
    spacing = (round(float(rng.uniform(*_SLICE_MM)), 3), in_plane, in_plane)
    z, y, x = (
        round(float(middle - step * (count - 1) / 2), 3)
        for middle, step, count in zip(rng.uniform(*_MIDDLE_MM), spacing, shape, strict=True)
    )
    scene = draw_scene(shape, spacing, (z, y, x), rng)
    organs = draw_organs(scene)
    fewest, most = _TUMOURS[split]
    tumours = draw_tumours(scene, organs.liver, int(rng.integers(fewest, most + 1)))
    segmentation = np.where(organs.liver < 0, LIVER, BACKGROUND).astype(np.uint8)
    for tumour in tumours:
        segmentation[tumour.distance < 0] = TUMOUR
    image = _scan(paint_patient(scene, organs, tumours), spacing, rng)
    return SyntheticCT(image, segmentation, spacing, (z, y, x))


def _scan(image: Array, spacing: Vector, rng: np.random.Generator) -> NDArray[np.int16]:
    """Blur a little, as reconstruction kernels do, and add noise that is partly correlated; round to int16."""
    blurred = ndimage.gaussian_filter(image, (0.3, 0.45, 0.45))
    fine = rng.standard_normal(image.shape, dtype=np.float32)
    coarse = smooth_noise(rng, image.shape, spacing, length=4.5)
    noise = np.float32(rng.uniform(*_NOISE_HU)) * (np.float32(0.75) * fine + np.float32(0.66) * coarse)
    return np.asarray(np.clip(np.rint(blurred + noise), -1024, 3071), dtype=np.int16)
