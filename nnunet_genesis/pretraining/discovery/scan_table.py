"""All scans of all sources under one number each, training scans first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.sources import Source


@dataclass(frozen=True, eq=False)
class ScanTable:
    """Scans by number: the training scans of all sources, then the held-out ones of all sources.

    Attributes:
        indices: Training cases per source, then held-out cases per source.
        source_names: One per source.
        group: (scans,) which of `indices` a scan is in.
        number: (scans,) its number there.
        shapes: (scans, 3) voxels per axis.
        chances: (training scans,) how often each is drawn from, adding up to 1.
    """

    indices: tuple[CaseIndex, ...]
    source_names: tuple[str, ...]
    group: npt.NDArray[np.int32]
    number: npt.NDArray[np.int32]
    shapes: npt.NDArray[np.int32]
    chances: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.group)

    @property
    def num_train(self) -> int:
        """Number of training scans; scans with lower numbers are these."""
        return len(self.chances)

    def source(self, scan: int) -> str:
        """Name of the source of a scan."""
        return self.source_names[int(self.group[scan]) % len(self.source_names)]

    def case(self, scan: int) -> str:
        """Identifier of a scan in its source."""
        return str(self.indices[self.group[scan]].identifiers[self.number[scan]])

    def file(self, scan: int) -> Path:
        """Image file of a scan."""
        index: CaseIndex = self.indices[self.group[scan]]
        return index.file(int(self.number[scan]))

    def foreground(self, scan: int) -> npt.NDArray[np.uint8]:
        """(8, 8, 8) foreground map of a scan."""
        cells: npt.NDArray[np.uint8] = self.indices[self.group[scan]].foreground[self.number[scan]]
        return cells


def list_scans(sources: Sequence[Source]) -> ScanTable:
    """Number the scans of all sources."""
    indices = (*(source.train for source in sources), *(source.validation for source in sources))
    sizes = [len(index) for index in indices]
    chances = [np.full(len(source.train), source.chance / max(1, len(source.train))) for source in sources]
    return ScanTable(
        indices=indices,
        source_names=tuple(source.name for source in sources),
        group=np.repeat(np.arange(len(indices), dtype=np.int32), sizes),
        number=np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]),
        shapes=np.concatenate([index.shapes for index in indices]),
        chances=np.concatenate(chances),
    )
