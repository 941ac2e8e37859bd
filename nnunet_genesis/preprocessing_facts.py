"""What in nnU-Net's plans decides how an image is preprocessed, so that cases of any origin can be mixed safely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_CT_STATISTICS = ("mean", "std", "percentile_00_5", "percentile_99_5")


def describe_preprocessing(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Collect everything that decides how a raw image becomes a preprocessed array.

    Two configurations with the same facts make the same array of the same image.

    Args:
        plans: The whole plans file.
        configuration: One of its configurations, inheritance resolved.

    Returns:
        Plain values.
    """
    schemes = list(configuration["normalization_schemes"])
    statistics = plans["foreground_intensity_properties_per_channel"]
    return {
        "channels": len(schemes),
        "spacing": [float(mm) for mm in configuration["spacing"]],
        "transpose_forward": list(plans.get("transpose_forward", (0, 1, 2))),
        "normalization_schemes": schemes,
        "use_mask_for_norm": [bool(masked) for masked in configuration["use_mask_for_norm"]],
        # Only CT is normalised by numbers of the dataset; everything else by those of the image.
        "ct_intensities": {
            str(channel): {name: float(statistics[str(channel)][name]) for name in _CT_STATISTICS}
            for channel, scheme in enumerate(schemes)
            if scheme == "CTNormalization"
        },
        # Readers that reorient change the array; which of the others read a file does not matter.
        "reorients": str(plans.get("image_reader_writer", "")).endswith("WithReorient"),
        "preprocessor": configuration.get("preprocessor_name", "DefaultPreprocessor"),
        "resampling": configuration.get("resampling_fn_data", "resample_data_or_seg_to_shape"),
        "resampling_options": dict(configuration.get("resampling_fn_data_kwargs", {})),
    }


def describe_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Name what differs between two descriptions, a line each; none where they preprocess alike."""
    return [
        f"{name.replace('_', ' ')}: {found.get(name)}, wanted {wanted.get(name)}"
        for name in sorted({*wanted, *found})
        if wanted.get(name) != found.get(name)
    ]
