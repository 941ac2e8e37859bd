"""Whether a prediction lies on the grid of its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.submission.volumes import Grid

SPACING_TOLERANCE = 1e-4
"""Of the image's spacing: half a tenth of a voxel over 500 slices."""
ORIGIN_TOLERANCE = 0.01
"""Of the image's smallest spacing."""
DIRECTION_TOLERANCE = 1e-4
"""Per direction cosine; NIfTI's 32-bit numbers stay below 1e-6."""
TOLERANCES = {
    "size": "equal",
    "spacing": f"{SPACING_TOLERANCE:g} of the image's",
    "origin": f"{ORIGIN_TOLERANCE:g} of the smallest voxel side",
    "direction": f"{DIRECTION_TOLERANCE:g} per cosine",
}
"""What `compare_grids` forgives, for reports."""


def compare_grids(image: Grid, prediction: Grid) -> list[str]:
    """Tell where a prediction leaves the grid of its image.

    Returns:
        A sentence for each difference, none where there is none.
    """
    if image.size != prediction.size:
        hint = "; its axes are in another order" if sorted(image.size) == sorted(prediction.size) else ""
        return [f"its size is {_sides(prediction.size)}, the image's {_sides(image.size)}{hint}"]
    problems = []
    told = (prediction.spacing, image.spacing)
    if any(abs(one - other) > SPACING_TOLERANCE * other for one, other in zip(*told, strict=True)):
        problems.append(f"its spacing is {_numbers(told[0])} mm, the image's {_numbers(told[1])} mm")
    told = (prediction.origin, image.origin)
    if any(abs(one - other) > ORIGIN_TOLERANCE * min(image.spacing) for one, other in zip(*told, strict=True)):
        problems.append(f"its origin is {_numbers(told[0])} mm, the image's {_numbers(told[1])} mm")
    told = (prediction.direction, image.direction)
    if any(abs(one - other) > DIRECTION_TOLERANCE for one, other in zip(*told, strict=True)):
        problems.append(f"its direction is {_numbers(told[0])}, the image's {_numbers(told[1])}")
    return problems


def _sides(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{round(value, 6) + 0.0:.8g}" for value in values) + ")"
