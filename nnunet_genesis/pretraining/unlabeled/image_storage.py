"""Images stored as nnU-Net stores its cases, without a segmentation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt


def write_image(image: npt.NDArray[np.float32], patch_size: Sequence[int], target: Path) -> Path:
    """Write an image by nnU-Net's own storage: its compression, and chunks that fit the patch size.

    Args:
        image: (channels, z, y, x).
        patch_size: The plans' patch size.
        target: File without its ending.

    Returns:
        The file, ``.b2nd``, on disk for good.

    Raises:
        SetupError: If it cannot be written, e.g. because the disk is full.
    """
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    blocks, chunks = _block_sizes()(image.shape, tuple(patch_size), image.itemsize)
    # nnU-Net writes image, segmentation and properties together; the latter two are made tiny here and removed.
    segmentation = np.zeros((1, 1, 1, 1), dtype=np.int8)
    file, *others = (Path(f"{target}{ending}") for ending in (".b2nd", "_seg.b2nd", ".pkl"))
    try:
        nnUNetDatasetBlosc2.save_case(
            image, segmentation, {}, str(target),
            chunks=chunks, blocks=blocks, chunks_seg=(1, 1, 1, 1), blocks_seg=(1, 1, 1, 1),
        )  # fmt: skip
        for other in others:
            other.unlink()
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
    except Exception as error:  # blosc2 raises RuntimeError for a full disk
        for left in (file, *others):
            left.unlink(missing_ok=True)
        raise SetupError(
            f"a preprocessed image cannot be written ({type(error).__name__}: {error})",
            where=file.parent,
            mend="make room on that disk and run the same command again: finished scans are kept",
        ) from error
    return file


def _block_sizes() -> Callable[..., tuple[Any, Any]]:
    """The function that chooses blocks and chunks: nnU-Net 2.8 has it beside the class, 2.6 inside."""
    from nnunetv2.training.dataloading import nnunet_dataset

    holder = nnunet_dataset if hasattr(nnunet_dataset, "comp_blosc2_params") else nnunet_dataset.nnUNetDatasetBlosc2
    choose: Callable[..., tuple[Any, Any]] = holder.comp_blosc2_params
    return choose
