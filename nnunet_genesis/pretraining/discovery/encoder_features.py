"""Features of whole scans from a given pretrained encoder: the alternative to the auto-encoder."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from nnunet_genesis.encoder import load_encoder
from nnunet_genesis.pretraining.crop_reading import read_crop
from nnunet_genesis.pretraining.discovery.geometry import first_voxels, size_in_voxels
from nnunet_genesis.pretraining.pooled_features import check_fits, pool_deepest

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.discovery.scan_table import ScanTable

PLACES = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (0.25, 0.75, 0.75), (0.75, 0.25, 0.75), (0.75, 0.75, 0.25))
"""Centres of the patches of every scan, in shares of its foreground box (ours)."""
_AT_ONCE = 32


def compute_features(
    file: Path,
    scans: ScanTable,
    boxes: npt.NDArray[np.int32],
    crop_size: tuple[int, ...],
    planned: PlannedConfiguration,
    *,
    workers: int,
    show_progress: bool,
) -> npt.NDArray[np.float32]:
    """Average the deepest stage of an encoder over five patches of every scan.

    Args:
        file: Anything that `load_encoder` reads.
        scans: The scans.
        boxes: (scans, 3, 2) foreground boxes.
        crop_size: Voxels per axis of a patch; rounded up to whole cells of the encoder's deepest stage, two at least.
        planned: The plans of the scans.
        workers: Threads that read.
        show_progress: Whether to show a bar.

    Returns:
        (scans, features).

    Raises:
        CheckpointError, TransferError: If the file holds no encoder.
        SetupError: If the encoder has another number of axes than the patches.
        DataError: If a case cannot be read.
    """
    encoder = load_encoder(file, in_channels=planned.num_channels).eval()
    check_fits(encoder, planned, file, "--features")
    whole_cells = [step * math.ceil(side / step) for side, step in zip(crop_size, encoder.strides[-1], strict=True)]
    size = size_in_voxels(encoder.fitting_size(whole_cells))

    def read(scan: int) -> torch.Tensor:
        low, high = boxes[scan, :, 0], boxes[scan, :, 1]
        first = first_voxels(low + np.asarray(PLACES) * (high - low), size)
        shape = scans.shapes[scan].tolist()
        patches = [read_crop(scans.file(scan), shape, start, size)[0] for start in first.tolist()]
        return torch.stack(patches).reshape(len(PLACES), planned.num_channels, *size[-len(crop_size) :])

    features = []
    bar = tqdm(total=len(scans), desc="computing features", unit="scan", disable=not show_progress)
    with bar, torch.inference_mode(), ThreadPoolExecutor(max(1, workers)) as pool:
        for begin in range(0, len(scans), _AT_ONCE):  # reading must not run far ahead of the encoder
            for patches in pool.map(read, range(begin, min(len(scans), begin + _AT_ONCE))):
                features.append(pool_deepest(encoder, patches).mean(0))
                bar.update()
    return torch.stack(features).numpy()
