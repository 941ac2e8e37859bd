"""Models Genesis' distortions in plain loops, to judge the package by; written from its description, not its code.

Source: Zhou et al., arXiv 1908.06912, with the sizes and probabilities of the authors' release. Nothing is shared
with `nnunet_genesis`: no import, no table, no random generator. The authors' limits stay as they are (every axis needs
about 20 voxels), so that these functions are only good for patches like 64 x 64 x 32.

Shapes: patches are (channels, *spatial).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]
    BoolArray = npt.NDArray[np.bool_]


def integer(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw from low to high, both included."""
    return int(rng.integers(low, high + 1))


def box(starts: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    """Index of a box in an array."""
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))


def mirror(patch: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, tuple[bool, ...]]:
    """Flip up to three times, each time on one random spatial axis, going on with 0.4; also tell the net flips."""
    flipped = [False] * (patch.ndim - 1)
    for _ in range(3):
        if rng.random() >= 0.4:
            break
        axis = integer(rng, 0, patch.ndim - 2)
        patch = np.flip(patch, axis=axis + 1)
        flipped[axis] = not flipped[axis]
    return patch, tuple(flipped)


def shuffle(patch: FloatArray, rng: np.random.Generator, num_windows: int = 10_000) -> FloatArray:
    """Permute inside windows of side 1 to n/10 that may overlap; each is read from the original, the last one wins."""
    sides = np.array(patch.shape[1:])
    sizes = rng.integers(1, sides // 10, size=(num_windows, len(sides)), endpoint=True)
    starts = rng.integers(0, sides - sizes, endpoint=True)
    result = patch.copy()
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        window = (slice(None), *box(start, size))
        values = patch[window].reshape(patch.shape[0], -1)
        result[window] = values[:, rng.permutation(values.shape[1])].reshape(patch.shape[0], *size)
    return result


def bezier(values: FloatArray, control_points: FloatArray, *, decreasing: bool) -> FloatArray:
    """Look values of [0, 1] up on a cubic Bezier curve: 100,000 points, double precision, linear in between."""
    t = np.linspace(0.0, 1.0, 100_000)
    ends = np.array([[0.0, 0.0], [1.0, 1.0]])
    points = np.array([ends[0], *control_points, ends[1]])
    x, y = (
        p0 * (1 - t) ** 3 + 3 * p1 * t * (1 - t) ** 2 + 3 * p2 * t**2 * (1 - t) + p3 * t**3
        for p0, p1, p2, p3 in points.T
    )
    if decreasing:
        y = 1 - y
    return np.asarray(np.interp(values, np.maximum.accumulate(x), y), dtype=np.float64)


def boxes_inside(sides: Sequence[int], rng: np.random.Generator) -> list[tuple[slice, ...]]:
    """In-painting: up to five boxes of side n/6 to n/3, three voxels from the border, each with probability 0.95."""
    boxes: list[tuple[slice, ...]] = []
    while len(boxes) < 5 and rng.random() < 0.95:
        sizes = [integer(rng, side // 6, side // 3) for side in sides]
        boxes.append(box([integer(rng, 3, n - size - 3) for n, size in zip(sides, sizes, strict=True)], sizes))
    return boxes


def boxes_kept(sides: Sequence[int], rng: np.random.Generator) -> list[tuple[slice, ...]]:
    """Out-painting: one to five windows of side n - (3/7 to 4/7) n that are kept."""
    boxes: list[tuple[slice, ...]] = []
    while not boxes or (len(boxes) < 5 and rng.random() < 0.95):
        sizes = [side - integer(rng, 3 * side // 7, 4 * side // 7) for side in sides]
        boxes.append(box([integer(rng, 3, n - size - 3) for n, size in zip(sides, sizes, strict=True)], sizes))
    return boxes


def painted(sides: Sequence[int], boxes: Sequence[tuple[slice, ...]], *, outside: bool) -> BoolArray:
    """Tell which voxels become noise: the boxes, or all but the boxes."""
    mask = np.full(tuple(sides), outside)
    for where in boxes:
        mask[where] = not outside
    return mask


def used_boxes(starts: Sequence[Sequence[int]], sizes: Sequence[Sequence[int]]) -> list[tuple[slice, ...]]:
    """Boxes that have a volume, from the numbers that a package sampled."""
    return [box(start, size) for start, size in zip(starts, sizes, strict=True) if min(size) > 0]


def paint(sides: Sequence[int], rng: np.random.Generator) -> tuple[str, BoolArray]:
    """Draw what happens to a patch: painted with 0.9, of these out-painting with 0.8; name it and tell the voxels."""
    if rng.random() >= 0.9:
        return "nothing", np.zeros(tuple(sides), dtype=bool)
    if rng.random() < 0.8:
        return "outside", painted(sides, boxes_kept(sides, rng), outside=True)
    return "inside", painted(sides, boxes_inside(sides, rng), outside=False)


def tiles(
    sides: Sequence[int], bands: Sequence[int], windows: Sequence[Sequence[int]], offsets: Sequence[Sequence[int]]
) -> IntArray:
    """Number the whole tiles of every band along the first axis from 1; 0 where no whole tile fits."""
    numbers = np.zeros(tuple(sides), dtype=np.int64)
    tile = 0
    for band, (window, offset) in enumerate(zip(windows, offsets, strict=True)):
        borders = [(bands[band], bands[band + 1]), *((0, side) for side in sides[1:])]
        origins = [
            range(start + first, stop - edge + 1, edge)
            for (start, stop), first, edge in zip(borders, offset, window, strict=True)
        ]
        for origin in itertools.product(*origins):
            tile += 1
            numbers[box(origin, window)] = tile
    return numbers
