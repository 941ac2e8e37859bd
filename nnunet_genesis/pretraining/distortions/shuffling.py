"""Local pixel shuffling: voxels are permuted inside small windows (Models Genesis, arXiv 1908.06912).

The authors draw 10,000 windows with sides 1 to n/10 per axis; they overlap, so that voxels are lost and others
doubled. Here a patch is cut into two bands along its first axis, either is tiled by windows of one random shape at a
random offset, and tiles are permuted: windows never overlap, no voxel is lost, and a few tensor operations do what
10,000 slices did (ours). A band of small windows holds more of them than a band of large ones; drawing a side with a
chance proportional to its length makes all window shapes equally frequent, as published. The longest side is capped in
voxels (ours): with n/10 alone a window would grow from about 24 voxels at 64 x 64 x 32 to 616 at 160^3.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from nnunet_genesis.pretraining.distortions.parameters import (
    BatchParameters,
    draw_seeds,
    sample_occurrence,
    sample_uniform_integers,
    seeded_generators,
)

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


def sample_shuffling(
    batch_size: int,
    patch_size: tuple[int, ...],
    generator: torch.Generator,
    *,
    probability: float = 0.5,
    max_window_voxels: int = 6,
    coverage: float = 0.85,
) -> Shuffling:
    """Draw windows with sides of 1 to min(n/10, `max_window_voxels`) per axis, at least 1."""
    num_axes = len(patch_size)
    longest = torch.tensor([max(1, min(side // 10, max_window_voxels)) for side in patch_size])
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


def apply_shuffling(
    patches: torch.Tensor, parameters: Shuffling, *, random_device: torch.device | None = None
) -> torch.Tensor:
    """Permute voxels inside their windows; all channels of a voxel move together.

    Args:
        patches: (batch, channels, *spatial).
        parameters: Sampled windows.
        random_device: Where permutations are drawn; the patches' own device by default.

    Returns:
        New tensor of the same shape that holds the same values.
    """
    result = patches.clone()
    generators = seeded_generators(parameters.permutation_seed, random_device or patches.device)
    for sample, generator in enumerate(generators):
        if not parameters.applied[sample]:
            continue
        borders = parameters.bands[sample].tolist()
        for band, (start, stop) in enumerate(itertools.pairwise(borders)):
            _shuffle_tiles_(
                result[sample, :, start:stop],
                parameters.windows[sample, band].tolist(),
                parameters.offsets[sample, band].tolist(),
                float(parameters.coverage[sample]),
                generator,
            )
    return result


def _sample_sides(longest: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw sides from 1 to `longest` with a chance proportional to the side (inverse of the cumulative sum)."""
    fraction = torch.rand(longest.shape, generator=generator, dtype=torch.float64)
    sides = (((1 + 4 * fraction * longest * (longest + 1)).sqrt() - 1) / 2).ceil().long()
    return sides.clamp(min=1).minimum(longest)


def _shuffle_tiles_(
    region: torch.Tensor, window: list[int], offset: list[int], coverage: float, generator: torch.Generator
) -> None:
    """Permute whole tiles of `window` in a region (channels, *spatial), in place, until they cover `coverage`."""
    counts = [(side - first) // edge for side, first, edge in zip(region.shape[1:], offset, window, strict=True)]
    num_tiles, tile_size = math.prod(max(0, count) for count in counts), math.prod(window)
    if num_tiles == 0 or tile_size == 1:
        return
    tiles = region
    for axis, (first, edge, count) in enumerate(zip(offset, window, counts, strict=True)):
        # Every spatial axis becomes a pair: which tile, and where in the tile.
        tiles = torch.unflatten(tiles.narrow(1 + 2 * axis, first, count * edge), 1 + 2 * axis, (count, edge))
    num_axes = len(window)
    tiles = tiles.permute(*(1 + 2 * a for a in range(num_axes)), 0, *(2 + 2 * a for a in range(num_axes)))
    num_channels = region.shape[0]
    rows = tiles.reshape(num_tiles, num_channels, tile_size)
    device = generator.device
    orders = torch.rand(PERMUTATIONS, tile_size, generator=generator, device=device).argsort(dim=1)
    chosen = torch.randint(PERMUTATIONS, (num_tiles,), generator=generator, device=device)
    in_whole_tiles = num_tiles * tile_size / math.prod(region.shape[1:])
    moves = torch.rand(num_tiles, generator=generator, device=device) < coverage / in_whole_tiles
    # One more row, the identity, for the tiles that stay as they are.
    orders = torch.cat([orders, torch.arange(tile_size, device=device)[None]])
    chosen = torch.where(moves, chosen, PERMUTATIONS)
    index = orders[chosen].to(region.device)[:, None].expand(-1, num_channels, -1)
    tiles.copy_(rows.gather(2, index).view(tiles.shape))
