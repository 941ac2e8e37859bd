"""Images that are not like those of pretraining are told of, and equal ones are not."""

from __future__ import annotations

from typing import Any

import pytest

from nnunet_genesis.trainers.differences import find_differences

CT = {"mean": 100.0, "std": 40.0, "percentile_00_5": -60.0, "percentile_99_5": 220.0, "median": 1.0}
SAME: dict[str, Any] = {
    "spacing": [5.0, 0.8, 0.8],
    "normalization_schemes": ["CTNormalization"],
    "channel_names": ["CT"],
    "num_input_channels": 1,
    "foreground_intensities": [CT],
}


def differences(**changes: Any) -> list[str]:
    facts = {name: value for name, value in {**SAME, **changes}.items() if value is not None}
    return find_differences(
        facts,
        spacing=(5.0, 0.8, 0.8),
        normalization_schemes=["CTNormalization"],
        channel_names=["CT"],
        foreground_intensities=[CT],
    )


def test_equal_images_and_silent_files_differ_in_nothing() -> None:
    assert differences() == []
    assert differences(spacing=[5.0, 0.8, 0.803], channel_names=["ct"]) == []
    assert differences(**dict.fromkeys(SAME)) == []
    assert differences(spacing="unknown", normalization_schemes=3, foreground_intensities=[{"mean": "x"}]) == []
    assert differences(foreground_intensities=[{**CT, "mean": 101.9, "median": 500.0}]) == []


def test_2d_is_compared_in_its_plane() -> None:
    assert differences(spacing=[0.8, 0.8]) == []
    assert differences(spacing=[1.2, 0.8]) == ["spacing: 1.2 x 0.8 mm in pretraining, 5 x 0.8 x 0.8 mm here"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"spacing": [2.5, 0.8, 0.8]}, "spacing: 2.5 x 0.8 x 0.8 mm in pretraining, 5 x 0.8 x 0.8 mm here"),
        (
            {"normalization_schemes": ["ZScoreNormalization"]},
            "normalisation: ZScoreNormalization in pretraining, CTNormalization here",
        ),
        (
            {"foreground_intensities": [{**CT, "mean": 103.0, "percentile_99_5": 240.0}]},
            "normalisation of CT: clipped to -60 ... 240, mean 103, std 40 in pretraining, clipped to -60 ... 220,"
            " mean 100, std 40 here; the same tissue has another value",
        ),
        ({"channel_names": ["T1", "T2"]}, "channels: T1, T2 in pretraining, CT here"),
        ({"channel_names": None, "num_input_channels": 4}, "channels: 4 in pretraining, 1 here"),
    ],
)
def test_each_difference_gets_a_line(change: dict[str, Any], line: str) -> None:
    assert differences(**change) == [line]


def test_one_channel_that_is_spread_over_several_is_normalised_like_each_of_them() -> None:
    here: dict[str, Any] = {"spacing": SAME["spacing"], "channel_names": ["CT", "CT late"]}
    here |= {"normalization_schemes": ["CTNormalization"] * 2}
    single = {**SAME, "channel_names": ["CT or CT late"]}
    channels = "channels: CT or CT late in pretraining, CT, CT late here"
    assert find_differences(single, **here, foreground_intensities=[CT, CT]) == [channels]
    other = {**CT, "mean": 150.0}
    assert [
        line.partition(":")[0] for line in find_differences(single, **here, foreground_intensities=[CT, other])
    ] == [
        "channels",
        "normalisation of CT late",
    ]
