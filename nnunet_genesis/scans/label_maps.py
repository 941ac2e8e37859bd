"""Channels that look like label maps or masks: many voxels, few values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

FEWEST_VALUES = 10
"""A channel with fewer different values looks like a label map, if it has more voxels than `FEW_VALUES_FROM`."""
FEW_VALUES_FROM = 1000


def count_few_values(channel: npt.NDArray[np.generic]) -> int:
    """Number of different values of a channel that looks like a label map, a constant one included; 0 of others."""
    if (
        channel.size <= FEW_VALUES_FROM
        or len(np.unique(channel.flat[:: max(1, channel.size // 4096)])) >= FEWEST_VALUES
    ):
        return 0
    values = len(np.unique(channel))
    return values if values < FEWEST_VALUES else 0
