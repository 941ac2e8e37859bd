"""Channels that look like label maps or masks: many voxels, few values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

FEWEST_VALUES = 10
"""A channel with fewer different values looks like a label map, if it has more voxels than `FEW_VALUES_FROM`."""
FEW_VALUES_FROM = 1000


def looks_like_label_map(channel: npt.NDArray[np.generic]) -> bool:
    """Whether a channel has many voxels and few values, a constant one included."""
    return channel.size > FEW_VALUES_FROM and count_values(channel) < FEWEST_VALUES


def count_values(channel: npt.NDArray[np.generic]) -> int:
    """Number of different values; exact if it is small, at least `FEWEST_VALUES` otherwise."""
    sample = np.unique(channel.flat[:: max(1, channel.size // 4096)])
    return len(sample) if len(sample) >= FEWEST_VALUES else len(np.unique(channel))
