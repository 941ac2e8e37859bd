"""Indices of written cases, for tests that need patches but not a whole dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.case_files import find_case_file, read_whole
from nnunet_genesis.pretraining.case_index import CaseIndex
from nnunet_genesis.pretraining.foreground import map_foreground

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def written_index(folder: Path, cases: Iterable[str], *, background_below: float = -np.inf) -> CaseIndex:
    """Index the cases in a folder; voxels above a value in any channel are foreground."""
    names = sorted(cases)
    files = [find_case_file(folder, name) for name in names]
    images = [read_whole(file) for file in files]
    return CaseIndex(
        folder,
        identifiers=np.array(names),
        files=np.array([file.name for file in files]),
        shapes=np.array([image.shape[1:] for image in images], dtype=np.int32),
        foreground=np.stack([map_foreground(np.any(image > background_below, axis=0)) for image in images]),
        sha256=np.array([f"hash of {name}" for name in names]),
        scans=np.array([""] * len(names)),
    )
