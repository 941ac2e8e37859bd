"""Features of random patches of scans, from several encoders on the very same patches."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.pooled_features import pool_deepest
from nnunet_genesis.pretraining.seeds import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nnunet_genesis.encoder import PretrainedEncoder
    from nnunet_genesis.probing.scans import ProbeScan

_AT_ONCE = 16
"""Scans whose patches are in memory."""


def compute_features(
    encoders: Sequence[PretrainedEncoder],
    scans: Sequence[ProbeScan],
    patch_size: tuple[int, ...],
    *,
    patches_per_scan: int,
    max_background_share: float,
    single_channel: bool,
    seed: int,
    device: str,
    workers: int,
    show_progress: bool,
) -> list[npt.NDArray[np.float32]]:
    """Compute the features of random patches.

    The patches of a scan depend on the seed and its name alone.

    Args:
        encoders: On the CPU; they are moved to the device and back.
        scans: Scans.
        patch_size: Voxels per axis.
        patches_per_scan: Patches of every scan.
        max_background_share: As in pretraining.
        single_channel: Whether patches show the channels of their scan in turn, one each.
        seed: Decides where patches lie.
        device: A torch device.
        workers: Threads that read.
        show_progress: Whether to show a bar.

    Returns:
        Per encoder (scans, patches, features).

    Raises:
        DataError: If a case cannot be read.
    """

    def read(scan: ProbeScan) -> torch.Tensor:
        patches = scan_patches(scan, patch_size, max_background_share=max_background_share, seed=seed)
        voxels = (patches[number][0] for number in range(patches_per_scan))
        return torch.stack(
            [show_channel(patch, number) if single_channel else patch for number, patch in enumerate(voxels)]
        )

    found: list[list[torch.Tensor]] = [[] for _ in encoders]
    for encoder in encoders:
        encoder.to(device)
    bar = tqdm(total=len(scans), desc="computing features", unit="scan", disable=not show_progress)
    with bar, torch.inference_mode(), ThreadPoolExecutor(max(1, workers)) as pool:
        for begin in range(0, len(scans), _AT_ONCE):  # reading must not run far ahead of the encoders
            for patches in pool.map(read, scans[begin : begin + _AT_ONCE]):
                for encoder, vectors in zip(encoders, found, strict=True):
                    # One patch at a time: memory stays that of a pretraining step, whatever --patches says.
                    pooled = [pool_deepest(encoder, patch[None].to(device)) for patch in patches]
                    vectors.append(torch.cat(pooled).float().cpu())
                bar.update()
    for encoder in encoders:
        encoder.to("cpu")
    return [torch.stack(vectors).numpy() for vectors in found]


def show_channel(patch: torch.Tensor, number: int) -> torch.Tensor:
    """The channel (1, *spatial) that patch number `number` of a scan shows: all channels in turn."""
    channel = number % len(patch)
    return patch[channel : channel + 1]


def scan_patches(
    scan: ProbeScan, patch_size: tuple[int, ...], *, max_background_share: float, seed: int
) -> PatchDataset:
    """The patches of one scan."""
    return PatchDataset(
        [scan.index.select(np.array([scan.number]))],
        [1.0],
        patch_size,
        max_background_share=max_background_share,
        seed=(seed, int(Stream.PROBE), zlib.crc32(scan.name.encode())),
    )
