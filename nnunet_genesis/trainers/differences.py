"""How the images that an encoder learned from differ from those that it is to segment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPACING_TOLERANCE = 0.01
"""Relative difference of voxel sizes that nobody needs to hear of (ours)."""


INTENSITY_TOLERANCE = 0.05
"""Difference of CT statistics, in standard deviations of this dataset, that nobody needs to hear of (ours)."""
_CT_STATISTICS = ("percentile_00_5", "percentile_99_5", "mean", "std")


def find_differences(
    facts: Mapping[str, Any],
    *,
    spacing: Sequence[float],
    normalization_schemes: Sequence[str],
    channel_names: Sequence[str],
    foreground_intensities: Sequence[Mapping[str, float]],
) -> list[str]:
    """Compare what a file says of its pretraining with a configuration; what it does not say is not compared.

    Args:
        facts: Of the pretrained file.
        spacing: Millimetres per axis of the configuration.
        normalization_schemes: nnU-Net's, per channel.
        channel_names: Of the dataset.
        foreground_intensities: nnU-Net's statistics per channel in raw units, by which CT is clipped and scaled.

    Returns:
        A line for each of spacing, normalisation, channels and the numbers of CT normalisation that differs.
    """
    lines = []
    before = _numbers(facts.get("spacing"))
    axes = min(len(before), len(spacing))
    # Where one of the two is 2D, its axes are the last ones of the other.
    pairs = zip(before[len(before) - axes :], list(spacing)[len(spacing) - axes :], strict=True)
    if any(abs(old - new) > SPACING_TOLERANCE * max(old, new) for old, new in pairs):
        lines.append(f"spacing: {_join(before)} mm in pretraining, {_join(spacing)} mm here")
    schemes = _for_all_channels(_names(facts.get("normalization_schemes")), len(normalization_schemes))
    if schemes and schemes != list(normalization_schemes):
        lines.append(f"normalisation: {', '.join(schemes)} in pretraining, {', '.join(normalization_schemes)} here")
    channels = _names(facts.get("channel_names"))
    count = facts.get("num_input_channels", len(channels) or len(channel_names))
    if channels and [name.lower() for name in channels] != [name.lower() for name in channel_names]:
        lines.append(f"channels: {', '.join(channels)} in pretraining, {', '.join(channel_names)} here")
    elif count != len(channel_names):
        lines.append(f"channels: {count} in pretraining, {len(channel_names)} here")
    theirs = facts.get("foreground_intensities")
    theirs = _for_all_channels(list(theirs), len(schemes)) if isinstance(theirs, (list, tuple)) else []
    if theirs and schemes == list(normalization_schemes) and len(theirs) == len(schemes):
        for scheme, name, old, new in zip(schemes, channel_names, theirs, foreground_intensities, strict=True):
            if scheme == "CTNormalization" and _ct_differs(old, new):
                lines.append(
                    f"normalisation of {name}: {_describe_ct(old)} in pretraining, {_describe_ct(new)} here;"
                    " the same tissue has another value"
                )
    return lines


def _for_all_channels(told: list[Any], count: int) -> list[Any]:
    """What is told of the channel of a pretraining with one, for each of those that it is spread over."""
    return told * count if len(told) == 1 else told


def _ct_differs(old: Any, new: Mapping[str, float]) -> bool:
    """Whether numbers that CT is clipped and scaled by differ; what a file does not tell is not compared."""
    if not isinstance(old, dict) or not all(
        isinstance(told.get(name), (int, float)) for told in (old, new) for name in _CT_STATISTICS
    ):
        return False
    return any(abs(old[name] - new[name]) > INTENSITY_TOLERANCE * new["std"] for name in _CT_STATISTICS)


def _describe_ct(statistics: Mapping[str, float]) -> str:
    low, high, mean, std = (statistics[name] for name in _CT_STATISTICS)
    return f"clipped to {low:.0f} ... {high:.0f}, mean {mean:.0f}, std {std:.0f}"


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, (list, tuple)):
        return []
    return [float(entry) for entry in value if isinstance(entry, (int, float))]


def _names(value: Any) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, (list, tuple)) else []


def _join(spacing: Sequence[float]) -> str:
    return " x ".join(f"{float(mm):.4g}" for mm in spacing)
