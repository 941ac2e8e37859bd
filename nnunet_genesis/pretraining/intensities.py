"""Normalised units: what range of values each channel of the preprocessed data has.

Distortions work on u = (x - lo) / (hi - lo). For CT, lo and hi are the clip bounds of the plans. For everything else
they are the 0.5 and 99.5 percentiles of the training cases: of the voxels inside nnU-Net's mask where it normalised by
one, else of all voxels, air included, since without labels or a mask nothing tells foreground from it safely (ours).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration


@dataclass(frozen=True)
class IntensityRange:
    """Per channel, the two intensities that u = 0 and u = 1 stand for, in the units of the preprocessed data.

    Attributes:
        low: One value per channel.
        high: One value per channel, above `low`.
        masked: Per channel, whether background is exactly 0 (nnU-Net's masked normalisation).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    masked: tuple[bool, ...]

    @property
    def width(self) -> tuple[float, ...]:
        """Distance between the two, per channel."""
        return tuple(high - low for low, high in zip(self.low, self.high, strict=True))


def plans_range(planned: PlannedConfiguration, channel: int) -> tuple[float, float] | None:
    """The clip bounds of a CT channel in normalised units, or None for other normalisations."""
    if planned.normalization_schemes[channel] != "CTNormalization":
        return None
    raw = planned.foreground_intensities[channel]
    std = max(raw["std"], 1e-8)
    return (raw["percentile_00_5"] - raw["mean"]) / std, (raw["percentile_99_5"] - raw["mean"]) / std


def measure_range(planned: PlannedConfiguration, samples: Sequence[npt.NDArray[np.float32]]) -> IntensityRange:
    """Find the range of every channel.

    Args:
        planned: The dataset's plans.
        samples: Voxels of some training cases, each (channels, voxels).

    Raises:
        DataError: If a channel is constant.
    """
    low, high = [], []
    for channel, name in enumerate(planned.channel_names):
        bounds = plans_range(planned, channel)
        if bounds is None:
            values = np.concatenate([sample[channel] for sample in samples])
            if planned.masked_normalization[channel]:
                values = values[np.abs(values) >= 1e-3]
            bounds = (float("nan"),) * 2 if values.size == 0 else tuple(np.percentile(values, (0.5, 99.5)).tolist())
            if values.size and bounds[0] == bounds[1]:  # a mask of few voxels
                bounds = (float(values.min()), float(values.max()))
        if not (bounds[1] > bounds[0] and np.isfinite(bounds).all()):
            raise DataError(
                f"channel {channel} ({name}) is constant or not finite in the sampled cases"
                f" (lowest and highest: {bounds[0]:g}, {bounds[1]:g}): there is nothing to restore",
                where=planned.cases_folder,
                mend=f"check the raw images of channel {channel:04d}; where no scan has it, pretrain on the others one"
                " by one: --single-channel",
            )
        low.append(float(bounds[0]))
        high.append(float(bounds[1]))
    return IntensityRange(tuple(low), tuple(high), planned.masked_normalization)
