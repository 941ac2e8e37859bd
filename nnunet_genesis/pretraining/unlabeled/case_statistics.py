"""Intensity statistics of one image, for the manifest of a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

SAMPLED_VOXELS = 1_000_000
"""Percentiles of larger channels are taken from about this many evenly spaced voxels."""


def describe_intensities(image: npt.NDArray[np.float32]) -> list[dict[str, float]]:
    """Statistics of every channel.

    Args:
        image: (channels, z, y, x), finite.

    Returns:
        Per channel: min, max, mean, std, percentile_00_5, median, percentile_99_5, in the image's units.
    """
    return [_describe_channel(channel) for channel in image]


def _describe_channel(channel: npt.NDArray[np.float32]) -> dict[str, float]:
    # Slice by slice: in float64, a copy of a whole-body scan would take twice the memory of the scan itself.
    mean = sum(float(part.sum(dtype=np.float64)) for part in channel) / channel.size
    variance = sum(float(((part - mean) ** 2).sum(dtype=np.float64)) for part in channel) / channel.size
    step = max(1, channel.size // SAMPLED_VOXELS)
    lowest, median, highest = np.percentile(channel.reshape(-1)[::step], (0.5, 50, 99.5)).tolist()
    return {
        "min": float(channel.min()),
        "max": float(channel.max()),
        "mean": mean,
        "std": float(np.sqrt(variance)),
        "percentile_00_5": lowest,
        "median": median,
        "percentile_99_5": highest,
    }
