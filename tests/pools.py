"""Pools written directly, for tests that need one but no raw scans."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import blosc2
import numpy as np

from nnunet_genesis.pretraining.foreground import encode_map, foreground_mask, map_foreground
from nnunet_genesis.pretraining.unlabeled.pool import Pool, PoolCase
from nnunet_genesis.scans.voxel_hash import hash_voxels, scan_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration


def write_pool(planned: PlannedConfiguration, name: str, cases: Mapping[str, npt.NDArray[np.float32]]) -> Pool:
    """Write preprocessed cases (channels, z, y, x) as a pool whose raw scans had the same voxels."""
    pool = Pool(planned.pools_folder / name)
    shutil.rmtree(pool.folder, ignore_errors=True)
    pool.create({"preprocessing": planned.preprocessing})
    for identifier, image in cases.items():
        pool.partial_folder.mkdir(exist_ok=True)
        part = pool.partial_folder / f"{identifier}.b2nd"
        blosc2.asarray(np.ascontiguousarray(image), urlpath=str(part))
        mask = foreground_mask(image, planned)
        case = PoolCase(
            identifier=identifier,
            file=part.name,
            bytes=part.stat().st_size,
            shape=list(image.shape),
            sha256=hash_voxels(image),
            scan=scan_key(image),
            raw_sha256=hash_voxels(image),
            raw_shape=list(image.shape),
            raw_spacing=[1.0, 1.0, 1.0],
            spacing=[1.0, 1.0, 1.0],
            foreground=encode_map(map_foreground(mask)),
            foreground_share=float(mask.mean()),
            statistics=[],
            sources=[f"/raw/{identifier}.nii.gz"],
            signature="",
            seconds=0.1,
        )
        pool.add(part, case)
    return pool
