"""What is known of many cases, in flat arrays: a hundred thousand of them are loaded in seconds and shared by workers.

Arrays hold no Python objects, so that forked loader processes read them without copying a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.foreground import decode_map
from nnunet_genesis.scans.voxel_hash import channel_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.case_survey import CaseRecord
    from nnunet_genesis.pretraining.unlabeled.pool import PoolCase


@dataclass(frozen=True, eq=False)
class CaseIndex:
    """Cases of one folder.

    Attributes:
        folder: Where their files are.
        identifiers: (cases,) names.
        files: (cases,) names of the image files.
        shapes: (cases, 3) voxels per axis.
        foreground: (cases, 8, 8, 8) uint8 maps, see `nnunet_genesis.pretraining.foreground`.
        sha256: (cases,) hashes of the preprocessed voxels.
        scans: (cases,) keys of the raw voxels, empty where they are unknown.
    """

    folder: Path
    identifiers: npt.NDArray[np.str_]
    files: npt.NDArray[np.str_]
    shapes: npt.NDArray[np.int32]
    foreground: npt.NDArray[np.uint8]
    sha256: npt.NDArray[np.str_]
    scans: npt.NDArray[np.str_]

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.identifiers)

    def select(self, chosen: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> CaseIndex:
        """Keep some cases, by number or by mask."""
        return CaseIndex(
            self.folder,
            self.identifiers[chosen],
            self.files[chosen],
            self.shapes[chosen],
            self.foreground[chosen],
            self.sha256[chosen],
            self.scans[chosen],
        )

    def keys(self, number: int) -> set[str]:
        """What a case is recognised by: the hash of its preprocessed voxels, and the key of its raw ones if known."""
        return {str(key) for key in (self.sha256[number], self.scans[number]) if key}

    def keys_with_channels(self, number: int) -> set[str]:
        """The same, and what its channels would be recognised by if they were cases of their own."""
        return self.keys(number) | channel_keys(str(self.scans[number]))

    def file(self, number: int) -> Path:
        """Image file of a case."""
        return self.folder / str(self.files[number])


def is_case_shape(shape: object) -> bool:
    """Whether a value that was read can be the shape of a case: channels, then three spatial axes."""
    return (
        isinstance(shape, list) and len(shape) == 4 and all(type(side) is int and 0 < side < 1 << 31 for side in shape)
    )


def index_cases(
    folder: Path, records: Sequence[CaseRecord] | Sequence[PoolCase], identifiers: Sequence[str], scans: Sequence[str]
) -> CaseIndex:
    """Put records into arrays.

    Args:
        folder: Where the files are.
        records: One per case.
        identifiers: One per case.
        scans: Key of the raw voxels per case, empty where it is unknown.
    """
    maps = [decode_map(record.foreground) for record in records]
    return CaseIndex(
        folder=folder,
        identifiers=np.array(identifiers, dtype=np.str_),
        files=np.array([record.file for record in records], dtype=np.str_),
        shapes=np.array([record.shape[1:] for record in records], dtype=np.int32).reshape(-1, 3),
        foreground=np.stack(maps) if maps else np.zeros((0, 8, 8, 8), dtype=np.uint8),
        sha256=np.array([record.sha256 for record in records], dtype=np.str_),
        scans=np.array(scans, dtype=np.str_),
    )
