"""Small pictures of whole scans, and the foreground box of each; every scan is read once."""

from __future__ import annotations

import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.case_files import read_whole
from nnunet_genesis.pretraining.discovery.boxes import measure_box
from nnunet_genesis.pretraining.foreground import foreground_mask
from nnunet_genesis.pretraining.resampling import resample, resampling_weights

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.discovery.scan_table import ScanTable

SIDE = 32
"""Voxels of a thumbnail along each axis (ours; authors: 128 x 128 x 64): 64 kB per scan and channel on disk."""


def read_scans(
    scans: ScanTable, planned: PlannedConfiguration, file: Path | None, *, workers: int, show_progress: bool
) -> npt.NDArray[np.int32]:
    """Measure the foreground box of every scan, and write the thumbnails.

    Args:
        scans: The scans.
        planned: Their plans.
        file: New file for the thumbnails, raw float16 (scans, channels, 32, 32, 32); None for boxes alone.
        workers: Threads that read.
        show_progress: Whether to show a bar.

    Returns:
        (scans, 3, 2) boxes: first voxel per axis, and the one after the last.

    Raises:
        DataError: If a case cannot be read.
        SetupError: If the disk has no room for the thumbnails.
    """
    thumbnails = None
    if file is not None:
        shape = _shape(scans, planned)
        _require_space(file, 2 * math.prod(shape))
        thumbnails = np.memmap(file, dtype=np.float16, mode="w+", shape=shape)

    def read(scan: int) -> npt.NDArray[np.int32]:
        voxels = read_whole(scans.file(scan))
        box = measure_box(foreground_mask(voxels, planned))
        if thumbnails is not None:
            thumbnails[scan] = make_thumbnail(voxels, box)
        return box

    pool = ThreadPoolExecutor(max(1, workers))  # decompression releases the interpreter lock
    try:
        boxes = pool.map(read, range(len(scans)))
        bar = tqdm(boxes, total=len(scans), desc="reading scans", unit="scan", disable=not show_progress)
        return np.stack(list(bar))
    finally:
        pool.shutdown(cancel_futures=True)


def open_thumbnails(scans: ScanTable, planned: PlannedConfiguration, file: Path) -> npt.NDArray[np.float16]:
    """Map what `read_scans` wrote: (scans, channels, 32, 32, 32), in memory only where it is looked at."""
    return np.memmap(file, dtype=np.float16, mode="r", shape=_shape(scans, planned))


def make_thumbnail(voxels: npt.NDArray[np.float32], box: npt.NDArray[np.int32]) -> npt.NDArray[np.float16]:
    """Cut a scan to its box, shrink it, and give every channel mean 0 and standard deviation 1 (ours).

    Args:
        voxels: (channels, z, y, x).
        box: (3, 2).

    Returns:
        (channels, 32, 32, 32); axes shorter than that are interpolated, constant channels are 0.
    """
    part = torch.from_numpy(voxels[(slice(None), *(slice(first, stop) for first, stop in box.tolist()))])
    weights = [resampling_weights(0, side / SIDE, SIDE, range(side)) for side in part.shape[1:]]
    small = resample(part, weights)
    mean = small.mean(dim=(1, 2, 3), keepdim=True)
    deviation = (small - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    scaled = torch.where(deviation > 1e-6, (small - mean) / deviation.clamp(min=1e-6), torch.zeros_like(small))
    result: npt.NDArray[np.float16] = scaled.half().numpy()
    return result


def _require_space(file: Path, size: int) -> None:
    """Refuse before a full disk would end the process without a word, as it does with files in memory."""
    free = shutil.disk_usage(file.parent).free
    if free < size:
        raise SetupError(
            f"thumbnails need {size / 1e9:.1f} GB on the disk, {free / 1e9:.1f} GB are free",
            where=file.parent,
            mend="--output on another disk, or --features FILE, which needs none",
        )


def _shape(scans: ScanTable, planned: PlannedConfiguration) -> tuple[int, ...]:
    return (len(scans), planned.num_channels, SIDE, SIDE, SIDE)
