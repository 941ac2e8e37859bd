"""Written scans whose anatomy is known: the voxels tell where they lie in the foreground box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.discovery.discover import discover
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.sources import open_sources

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.config import DiscoveryConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.discovery.result import Discovery
    from nnunet_genesis.pretraining.sources import Source

Case = tuple["npt.NDArray[np.float32]", "npt.NDArray[np.int64]"]
OFFSET = 1000.0


def coordinate_scan(shape: tuple[int, int, int], box: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Channel k is `OFFSET` plus the distance in voxels from the middle of the box along axis k; outside it is 0.

    Args:
        shape: Voxels per axis.
        box: (3, 2) first voxel per axis and the one after the last.
    """
    grids = np.meshgrid(*[np.arange(side) + 0.5 for side in shape], indexing="ij")
    image = np.stack([OFFSET + grid - low_high.mean() for grid, low_high in zip(grids, box, strict=True)])
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, stop) for first, stop in box)] = True
    return np.where(mask, image, 0).astype(np.float32)


def draw_box(
    shape: tuple[int, int, int], margin: tuple[int, int, int], generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """A box whose ends are up to `margin` voxels from those of the scan."""
    return np.array(
        [
            (generator.integers(most + 1), side - generator.integers(most + 1))
            for side, most in zip(shape, margin, strict=True)
        ]
    )


def coordinate_scans(
    count: int, shape: tuple[int, int, int], margin: tuple[int, int, int], seed: int = 0
) -> dict[str, npt.NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    return {f"case_{number:03d}": coordinate_scan(shape, draw_box(shape, margin, generator)) for number in range(count)}


def open_written(**settings: object) -> tuple[PlannedConfiguration, list[Source]]:
    """The dataset that `tests.preprocessed.write_dataset` wrote."""
    configuration = str(settings.pop("configuration", "3d_fullres"))
    config = PretrainingConfig(pretext="models-genesis", batch_size=2, **settings)  # type: ignore[arg-type]
    planned = load_planned_configuration("777", configuration=configuration)
    return planned, open_sources(planned, config, find_source_folders(planned, config), workers=1, show_progress=False)


def run(
    planned: PlannedConfiguration, sources: list[Source], folder: Path, config: DiscoveryConfig, seed: int = 0
) -> Discovery:
    return discover(planned, config, sources, seed=seed, folder=folder, workers=1, show_progress=False)
