"""How sharp a patch is, drawn alike for all scales so that sharpness does not tell which scale it is (ours).

What is drawn is how the finished patch looks: the size of its cells, and the width of all that blurs it, the scanner
counted in. A crop of scale s has shrunk its scanner's blur s times already, so that more is added to larger scales. The
scanner's is not known; a fixed guess is taken, and the drawn widths differ by more than a wrong guess would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.pretraining.resampling import Coarsening

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

COARSENESS = (1.0, 2.0)
"""Voxels of the patch per cell."""
MAX_EXTRA_BLUR = 1.5
"""Widest random blur, in voxels of the patch."""
CELL_BLUR = 0.5
"""Width of the blur that keeps cells from aliasing, in cells."""
SCANNER_BLUR = 0.6
"""Width of the blur that a scan is assumed to have, in its own voxels."""


@dataclass(frozen=True)
class Sharpness:
    """What is drawn for a patch.

    Attributes:
        coarseness: Voxels of the patch per cell.
        blur: Width sigma of all that blurs the patch, in its voxels.
    """

    coarseness: float
    blur: float

    def coarsen(self, size: Sequence[int], scale: float, num_axes: int) -> list[Coarsening | None]:
        """What is to be done along each axis of a crop of this scale.

        Args:
            size: Voxels of the patch along (z, y, x).
            scale: Voxels of the scan per voxel of the patch.
            num_axes: Axes of the plans; with 2, z is left alone.
        """
        added = math.sqrt((scale * self.blur) ** 2 - SCANNER_BLUR**2)
        return [
            None if axis < len(size) - num_axes else Coarsening(max(1, round(side / self.coarseness)), added)
            for axis, side in enumerate(size)
        ]


def draw_sharpness(generator: np.random.Generator, coarseness: tuple[float, float] = COARSENESS) -> Sharpness:
    """Draw the size of the cells, and a random blur whose square is uniform."""
    drawn = float(generator.uniform(*coarseness))
    extra = float(generator.uniform(0, MAX_EXTRA_BLUR**2))
    return Sharpness(drawn, math.sqrt((CELL_BLUR * drawn) ** 2 + extra + SCANNER_BLUR**2))
