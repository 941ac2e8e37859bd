"""How the images that an encoder learned from differ from those that it is to segment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPACING_TOLERANCE = 0.01
"""Relative difference of voxel sizes that nobody needs to hear of (ours)."""


def find_differences(
    facts: Mapping[str, Any],
    *,
    spacing: Sequence[float],
    normalization_schemes: Sequence[str],
    channel_names: Sequence[str],
) -> list[str]:
    """Compare what a file says of its pretraining with a configuration; what it does not say is not compared.

    Args:
        facts: Of the pretrained file.
        spacing: Millimetres per axis of the configuration.
        normalization_schemes: nnU-Net's, per channel.
        channel_names: Of the dataset.

    Returns:
        A line for each of spacing, normalisation and channels that differs.
    """
    lines = []
    before = _numbers(facts.get("spacing"))
    axes = min(len(before), len(spacing))
    # Where one of the two is 2D, its axes are the last ones of the other.
    pairs = zip(before[len(before) - axes :], list(spacing)[len(spacing) - axes :], strict=True)
    if any(abs(old - new) > SPACING_TOLERANCE * max(old, new) for old, new in pairs):
        lines.append(f"spacing: {_join(before)} mm in pretraining, {_join(spacing)} mm here")
    schemes = _names(facts.get("normalization_schemes"))
    if schemes and schemes != list(normalization_schemes):
        lines.append(f"normalisation: {', '.join(schemes)} in pretraining, {', '.join(normalization_schemes)} here")
    channels = _names(facts.get("channel_names"))
    count = facts.get("num_input_channels", len(channels) or len(channel_names))
    if channels and [name.lower() for name in channels] != [name.lower() for name in channel_names]:
        lines.append(f"channels: {', '.join(channels)} in pretraining, {', '.join(channel_names)} here")
    elif count != len(channel_names):
        lines.append(f"channels: {count} in pretraining, {len(channel_names)} here")
    return lines


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, (list, tuple)):
        return []
    return [float(entry) for entry in value if isinstance(entry, (int, float))]


def _names(value: Any) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, (list, tuple)) else []


def _join(spacing: Sequence[float]) -> str:
    return " x ".join(f"{float(mm):.4g}" for mm in spacing)
