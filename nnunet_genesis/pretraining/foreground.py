"""Where in a case there is something to see: a coarse map, made once per case and asked for every patch.

Without labels, background is what is exactly 0 (nnU-Net's masked normalisation), in the lowest tenth between the clip
bounds (CT), or in the lowest tenth of the case's own range of intensities. A tenth is ours: on real MRI and CT, noisy
air reaches above a twentieth, and dark tissue begins below two tenths.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.intensities import plans_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration

BACKGROUND_UNITS = 0.1
"""Share of the range of intensities that counts as background, from its lower end."""
CELLS_PER_AXIS = 8
"""A map has this many cells per axis, whatever the case's size: 512 bytes."""
_MAP_SHAPE = (CELLS_PER_AXIS,) * 3
_SAMPLED_VOXELS = 1_000_000


def foreground_mask(voxels: npt.NDArray[np.float32], planned: PlannedConfiguration) -> npt.NDArray[np.bool_]:
    """Tell foreground from background in a preprocessed case.

    Args:
        voxels: (channels, z, y, x).
        planned: The plans that it was preprocessed by.

    Returns:
        (z, y, x), True where any channel is foreground.
    """
    foreground = np.zeros(voxels.shape[1:], dtype=bool)
    for number, channel in enumerate(voxels):
        if planned.masked_normalization[number]:
            foreground |= np.abs(channel) >= 1e-3
            continue
        low, high = plans_range(planned, number) or _range_of(channel)
        foreground |= channel > low + BACKGROUND_UNITS * (high - low)
    return foreground


def map_foreground(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Reduce a mask to the share of foreground per cell.

    Args:
        mask: (z, y, x).

    Returns:
        (8, 8, 8): 0 for no foreground, 255 for nothing else. Axes shorter than 8 voxels have cells without voxels.
    """
    shares = mask.astype(np.float32)
    for axis in range(3):
        borders = cell_borders(mask.shape[axis])
        sums = np.add.reduceat(shares, np.minimum(borders[:-1], mask.shape[axis] - 1), axis=axis)
        # reduceat gives an empty cell the voxel at its border; as its weight is 0 everywhere, 0 is stored for it.
        lengths = np.diff(borders).reshape([-1 if other == axis else 1 for other in range(3)])
        shares = np.where(lengths > 0, sums / np.maximum(lengths, 1), 0)
    return np.rint(255 * shares).astype(np.uint8)


def cell_borders(side: int) -> npt.NDArray[np.int64]:
    """First voxel of every cell along an axis of `side` voxels, and the end of the last: (9,)."""
    return np.arange(CELLS_PER_AXIS + 1, dtype=np.int64) * side // CELLS_PER_AXIS


def foreground_shares(
    cells: npt.NDArray[np.uint8],
    shape: Sequence[int],
    first_voxels: npt.NDArray[np.int64],
    size: Sequence[int],
) -> npt.NDArray[np.float64]:
    """Estimate how much of some patches is foreground; what lies outside the case counts as background.

    Args:
        cells: (8, 8, 8) map of the case.
        shape: Voxels of the case per axis.
        first_voxels: (patches, 3) first voxels, negative where a patch begins outside.
        size: Voxels of a patch per axis.

    Returns:
        (patches,) values in [0, 1].
    """
    overlaps = []
    for axis in range(3):
        borders = cell_borders(shape[axis])
        start = first_voxels[:, axis, None]
        inside = np.minimum(borders[1:], start + size[axis]) - np.maximum(borders[:-1], start)
        overlaps.append(np.maximum(inside, 0) / size[axis])
    z, y, x = overlaps
    # (8, 8, 8) over x -> (patches, 8, 8) over y -> (patches, 8) over z -> (patches,)
    rows = np.tensordot(x, cells, axes=(1, 2))
    planes = (rows * y[:, None, :]).sum(-1)
    shares: npt.NDArray[np.float64] = (planes * z).sum(-1) / 255
    return shares


def encode_map(cells: npt.NDArray[np.uint8]) -> str:
    """Write a map as text."""
    return base64.b64encode(cells.tobytes()).decode()


def decode_map(text: str) -> npt.NDArray[np.uint8]:
    """Read what `encode_map` wrote.

    Raises:
        ValueError: If it is no map.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8).reshape(_MAP_SHAPE)


def _range_of(channel: npt.NDArray[np.float32]) -> tuple[float, float]:
    thinned = channel.reshape(-1)[:: max(1, channel.size // _SAMPLED_VOXELS)]
    low, high = np.percentile(thinned, (0.5, 99.5)).tolist()
    return low, high
