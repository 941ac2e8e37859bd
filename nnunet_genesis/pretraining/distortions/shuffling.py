"""Local pixel shuffling: voxels are permuted inside small windows (Models Genesis, arXiv 1908.06912).

The authors draw 10,000 windows with sides 1 to n/10 per axis; they overlap, so that voxels are lost and others
doubled. Here a patch is cut into two bands along its first axis, either is tiled by windows of one random shape at a
random offset, and tiles are permuted: windows never overlap and no voxel is lost (ours). A band of small windows holds
more of them than a band of large ones; drawing a side with a chance proportional to its length makes all window shapes
equally frequent, as published. The longest side is capped in voxels (ours): with n/10 alone a window would grow from
about 24 voxels at 64 x 64 x 32 to 616 at 160^3.

Two look-ups per voxel do what 10,000 slices did. A tile takes one of `PERMUTATIONS` random permutations, and which one
is the sum of three random numbers, one per coordinate of the tile; so the key of a voxel (which permutation, which
place in the tile) is the sum of a plane of numbers over the first two axes and a plane over the first and the last. A
table tells for every key how far away the voxel's new value lies.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from nnunet_genesis.pretraining.distortions.boxes import Box, chunks_of_box, scratch, to_device, whole_box
from nnunet_genesis.pretraining.distortions.parameters import (
    BatchParameters,
    draw_seeds,
    sample_occurrence,
    sample_uniform_integers,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int32]

MAX_BANDS = 2
PERMUTATIONS = 128
"""Random permutations drawn for every band; each tile takes one of them."""


@dataclass(frozen=True)
class Shuffling(BatchParameters):
    """Sampled windows.

    Attributes:
        applied: (batch,) bool, whether the sample is shuffled at all.
        bands: (batch, MAX_BANDS + 1) int64, borders of the bands along the first spatial axis.
        windows: (batch, MAX_BANDS, spatial axes) int64, sides of the windows in voxels.
        offsets: (batch, MAX_BANDS, spatial axes) int64, first voxel of the first tile, counted from the band's border.
        coverage: (batch,) share of the voxels that lie in a permuted window, in [0, 1], as far as whole windows fit.
        permutation_seed: (batch,) int64.
    """

    applied: torch.Tensor
    bands: torch.Tensor
    windows: torch.Tensor
    offsets: torch.Tensor
    coverage: torch.Tensor
    permutation_seed: torch.Tensor

    def explain(self, sample: int) -> str:
        """Name the windows of one sample."""
        if not self.applied[sample]:
            return "not shuffled"
        windows = [" x ".join(map(str, window)) for window in self.windows[sample].tolist()]
        borders = itertools.pairwise(self.bands[sample].tolist())
        bands = [f"{w} in {start} to {stop}" for w, (start, stop) in zip(windows, borders, strict=True) if start < stop]
        share = 100 * float(self.coverage[sample])
        return f"shuffled in windows of {', '.join(bands)} along the first axis; {share:.3g} % of the voxels"


@dataclass(frozen=True)
class Moves:
    """Where the voxels of one patch, or of several in one run of memory, take their values from.

    The value of voxel (z, y, x) comes from `steps[rows[z, y] + columns[z, x]]` voxels further on in memory. Of a slice,
    y has one value.

    Attributes:
        rows: (..., first axis, middle axis) int32.
        columns: (..., first axis, last axis) int32.
        steps: (keys,) int32.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    steps: torch.Tensor

    def read(self, patch: torch.Tensor, box: Box) -> torch.Tensor:
        """Shuffle one contiguous patch (channels, *spatial) on the CPU, but only what comes to lie in a box.

        Returns:
            (channels, *box), in memory that the next call uses again.
        """
        first, middle, last = box if len(box) == 3 else (box[0], slice(0, 1), box[1])
        height, width = self.rows.shape[-1], self.columns.shape[-1]
        shape = (first.stop - first.start, middle.stop - middle.start, last.stop - last.start)
        key, source = scratch("key", shape, torch.int32), scratch("source", shape, torch.int32)
        torch.add(self.rows[first, middle, None], self.columns[first, None, last], out=key)
        torch.index_select(self.steps, 0, key.view(-1), out=source.view(-1))
        line = torch.arange(first.start, first.stop, dtype=torch.int32)[:, None] * height
        line = line + torch.arange(middle.start, middle.stop, dtype=torch.int32)
        source += line[..., None] * width
        source += torch.arange(last.start, last.stop, dtype=torch.int32)
        moved = scratch("moved", (len(patch), *(part.stop - part.start for part in box)), patch.dtype)
        for channel, moved_channel in zip(patch.flatten(1), moved, strict=True):
            torch.index_select(channel, 0, source.view(-1), out=moved_channel.view(-1))
        return moved


def sample_shuffling(
    batch_size: int,
    patch_size: tuple[int, ...],
    generator: torch.Generator,
    *,
    probability: float = 0.5,
    max_window_voxels: int = 6,
    coverage: float = 0.85,
) -> Shuffling:
    """Draw windows with sides of 1 to those of `longest_window`."""
    num_axes = len(patch_size)
    longest = torch.tensor(longest_window(patch_size, max_window_voxels))
    longest = longest.expand(batch_size, MAX_BANDS, num_axes)
    windows = _sample_sides(longest, generator)
    offsets = sample_uniform_integers(torch.zeros_like(windows), windows - 1, generator)
    first_axis = patch_size[0]
    cuts = torch.randint(0, first_axis + 1, (batch_size, MAX_BANDS - 1), generator=generator).sort(dim=1).values
    bands = torch.cat([torch.zeros_like(cuts[:, :1]), cuts, torch.full_like(cuts[:, :1], first_axis)], dim=1)
    return Shuffling(
        applied=sample_occurrence(batch_size, probability, generator),
        bands=bands,
        windows=windows,
        offsets=offsets,
        coverage=torch.full((batch_size,), coverage),
        permutation_seed=draw_seeds(batch_size, generator),
    )


def longest_window(patch_size: tuple[int, ...], max_window_voxels: int) -> list[int]:
    """Sides of the largest window in voxels: min(n/10, `max_window_voxels`) per axis, at least 1."""
    return [max(1, min(side // 10, max_window_voxels)) for side in patch_size]


def describe_longest_window(patch_size: tuple[int, ...], max_window_voxels: int, spacing: tuple[float, ...]) -> str:
    """The sides of `longest_window` in words; spacing in millimetres per axis."""
    longest = longest_window(patch_size, max_window_voxels)
    in_mm = " x ".join(f"{side * mm:.1f}" for side, mm in zip(longest, spacing, strict=True))
    return f"longest shuffling window: {' x '.join(map(str, longest))} voxels, {in_mm} mm"


def apply_shuffling(patches: torch.Tensor, parameters: Shuffling) -> torch.Tensor:
    """Permute voxels inside their windows; all channels of a voxel move together.

    Args:
        patches: (batch, channels, *spatial).
        parameters: Sampled windows.

    Returns:
        New tensor of the same shape that holds the same values.
    """
    patches, patch_size = patches.contiguous(), tuple(patches.shape[2:])
    if patches.device.type != "cpu":
        return apply_shuffling_batched(patches, parameters)
    result = torch.empty_like(patches)
    for sample, (patch, shuffled) in enumerate(zip(patches, result, strict=True)):
        if not parameters.applied[sample]:
            shuffled.copy_(patch)
            continue
        moves = find_moves(parameters, sample, patch_size)
        for chunk in chunks_of_box(whole_box(patch_size)):
            shuffled[(slice(None), *chunk)] = moves.read(patch, chunk)
    return result


def _sample_sides(longest: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw sides from 1 to `longest` with a chance proportional to the side (inverse of the cumulative sum)."""
    fraction = torch.rand(longest.shape, generator=generator, dtype=torch.float64)
    sides = (((1 + 4 * fraction * longest * (longest + 1)).sqrt() - 1) / 2).ceil().long()
    return sides.clamp(min=1).minimum(longest)


def apply_shuffling_batched(patches: torch.Tensor, parameters: Shuffling) -> torch.Tensor:
    """As `apply_shuffling`, on a whole batch at once: the way of accelerators."""
    batch_size, num_channels, *patch_size = patches.shape
    moves = _join([find_moves(parameters, sample, tuple(patch_size)) for sample in range(batch_size)])
    rows, columns, steps = (to_device(part, patches.device) for part in (moves.rows, moves.columns, moves.steps))
    keys = rows[..., :, None] + columns[..., None, :]
    source = steps.index_select(0, keys.view(-1))
    del keys
    source += torch.arange(len(source), dtype=torch.int32, device=patches.device)
    # All samples of a channel in one run of memory, as `source` counts them.
    channels = [patches[:, c].reshape(-1).index_select(0, source) for c in range(num_channels)]
    return torch.stack(channels).view(num_channels, batch_size, *patch_size).transpose(0, 1)


def _join(moves: list[Moves]) -> Moves:
    """Moves of several patches whose voxels follow each other in memory: all steps become one table."""
    starts = np.cumsum([0, *(len(one.steps) for one in moves[:-1])]).tolist()
    return Moves(
        rows=torch.stack([one.rows + start for one, start in zip(moves, starts, strict=True)]),
        columns=torch.stack([one.columns for one in moves]),
        steps=torch.cat([one.steps for one in moves]),
    )


def find_moves(parameters: Shuffling, sample: int, patch_size: tuple[int, ...]) -> Moves:
    """Draw the permutations of one sample, and tell for every voxel where its value comes from."""
    depth, width = patch_size[0], patch_size[-1]
    # A slice is worked on as a volume whose middle axis has one voxel.
    height = math.prod(patch_size[1:-1])
    rows, columns = np.zeros((depth, height), np.int32), np.zeros((depth, width), np.int32)
    if not parameters.applied[sample]:
        return Moves(torch.from_numpy(rows), torch.from_numpy(columns), torch.zeros(1, dtype=torch.int32))
    rng = np.random.default_rng(int(parameters.permutation_seed[sample]))
    tables: list[IntArray] = []
    for band, (start, stop) in enumerate(itertools.pairwise(parameters.bands[sample].tolist())):
        window, offset = parameters.windows[sample, band].tolist(), parameters.offsets[sample, band].tolist()
        if len(patch_size) == 2:
            window, offset = [window[0], 1, window[1]], [offset[0], 0, offset[1]]
        lengths = (stop - start, height, width)
        volume = math.prod(window)
        coordinates = [_Coordinates.of(*axis, rng) for axis in zip(lengths, window, offset, strict=True)]
        whole_tiles = math.prod(axis.whole.sum() for axis in coordinates) / max(1, math.prod(lengths))
        moved_share = min(1.0, float(parameters.coverage[sample]) / whole_tiles) if whole_tiles else 0.0
        first, middle, last = coordinates
        lines = first.whole[:, None] & middle.whole
        groups, last_groups = (first.group[:, None] + middle.group) % PERMUTATIONS, last.group
        num_moved, num_groups = round(moved_share * PERMUTATIONS), PERMUTATIONS
        if moved_share * PERMUTATIONS < 1:  # as the few windows of Semantic Genesis
            num_groups = max(PERMUTATIONS, last.count)
            lines, groups, last_groups = _pick_tiles(coordinates, moved_share, num_groups, rng)
            num_moved = 1
        identity = 2 * num_groups * volume
        both = groups * volume + (first.place[:, None] * window[1] + middle.place) * window[2]
        rows[start:stop] = np.where(lines, both, identity) + sum(map(len, tables))
        columns[start:stop] = np.where(last.whole, last_groups * volume + last.place, identity)
        tables.append(_draw_steps(window, (height * width, width, 1), num_moved, num_groups, rng))
    return Moves(torch.from_numpy(rows), torch.from_numpy(columns), torch.from_numpy(np.concatenate(tables)))


@dataclass(frozen=True)
class _Coordinates:
    """Along one axis of a band, per voxel.

    Attributes:
        whole: Whether the voxel lies in a whole tile.
        tile: The tile's number, from 0 to `count` - 1 where it is whole.
        count: Whole tiles.
        place: Its place in the tile.
        group: A random number in [0, PERMUTATIONS), the same for all voxels of a tile.
    """

    whole: npt.NDArray[np.bool_]
    tile: IntArray
    count: int
    place: IntArray
    group: IntArray

    @classmethod
    def of(cls, length: int, window: int, offset: int, rng: np.random.Generator) -> _Coordinates:
        """Cut an axis of `length` voxels into tiles of `window` from voxel `offset` on."""
        position = np.arange(length, dtype=np.int32) - np.int32(offset)
        tile, place = np.divmod(position, np.int32(window))
        count = max(0, (length - offset) // window)
        group = rng.integers(0, PERMUTATIONS, size=length + 1, dtype=np.int32)[tile]
        return cls((tile >= 0) & (tile < count), tile, count, place, group)


def _pick_tiles(
    coordinates: list[_Coordinates], share: float, num_groups: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], IntArray, IntArray]:
    """Pick a number of single tiles whose mean is `share` of all, less than one permutation's.

    Returns:
        Per line along the last axis whether it crosses a tile that was picked, and its group; per voxel of the last
        axis its group. Both groups add up to `num_groups` (or 0) in the tiles that were picked, and nowhere else, as
        the last axis has no more tiles than that.
    """
    first, middle, last = coordinates
    counts = [axis.count for axis in coordinates]
    number = int(share * math.prod(counts) + rng.random())
    lines = np.zeros((len(first.tile), len(middle.tile)), dtype=np.bool_)
    groups = np.zeros(lines.shape, dtype=np.int32)
    for one, other, along in rng.integers(0, np.maximum(counts, 1), size=(number, 3)).tolist():
        crossing = (first.tile == one)[:, None] & (middle.tile == other)
        lines |= crossing
        groups[crossing] = -along % num_groups
    return lines, groups, last.tile % np.int32(num_groups)


def _draw_steps(
    window: list[int], strides: tuple[int, ...], moved: int, num_groups: int, rng: np.random.Generator
) -> IntArray:
    """Draw `moved` permutations of a tile's places and turn them into distances in memory.

    Returns:
        One row per sum of two groups, then rows of zeros for voxels outside whole tiles; flattened.
    """
    volume = math.prod(window)
    steps = np.zeros((4 * num_groups + 1, volume), dtype=np.int32)
    if volume > 1 and moved:
        where = sum(
            index * stride for index, stride in zip(np.indices(window, dtype=np.int32), strides, strict=True)
        ).reshape(-1)
        orders = rng.random((moved, volume), dtype=np.float32).argsort(axis=1)
        steps[:moved] = where[orders] - where
        steps[num_groups : 2 * num_groups] = steps[:num_groups]
    return steps.reshape(-1)
