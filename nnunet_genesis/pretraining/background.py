"""How much of the patches is background, told by the foreground maps without reading a voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.data import PatchDataset

if TYPE_CHECKING:
    from nnunet_genesis.pretraining.data import Place

LOOKED_AT = 1000


def describe_background(patches: PatchDataset) -> str:
    """Say what share of the first patches of a run is background, and what it would be without avoiding it."""
    anywhere = PatchDataset(
        patches.indices, patches.chances, patches.patch_size, max_background_share=1.0, seed=patches.seed
    )
    drawn, undirected = mean_background(patches), mean_background(anywhere)
    return f"background: about {100 * drawn:.0f} % of a patch ({100 * undirected:.0f} % if patches lay anywhere)"


def mean_background(patches: PatchDataset, count: int = LOOKED_AT) -> float:
    """Mean share of background voxels in what is no padding, over the first patches of a run."""
    places: list[Place] = [patches.locate(number) for number in range(count)]
    return float(np.mean([1 - place.foreground for place in places]))
