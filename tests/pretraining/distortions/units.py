"""Intensities that are normalised units already."""

from __future__ import annotations

from nnunet_genesis.pretraining.intensities import IntensityRange


def unit_range(num_channels: int) -> IntensityRange:
    """Every channel goes from 0 to 1."""
    return IntensityRange((0.0,) * num_channels, (1.0,) * num_channels, (False,) * num_channels)
