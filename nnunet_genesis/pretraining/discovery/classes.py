"""The search for classes: a reference scan each, a place in it, and the scans that are alike."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.errors import DataError
from nnunet_genesis.pretraining.discovery.geometry import (
    distances,
    express_place,
    find_centres,
    first_voxels,
    size_in_voxels,
)
from nnunet_genesis.pretraining.foreground import foreground_shares
from nnunet_genesis.pretraining.seeds import Stream, numpy_generator

if TYPE_CHECKING:
    import numpy.typing as npt

    from nnunet_genesis.config import DiscoveryConfig
    from nnunet_genesis.pretraining.discovery.neighbours import NeighbourSearch
    from nnunet_genesis.pretraining.discovery.scan_table import ScanTable

LOGGER = logging.getLogger("nnunet_genesis")
TRIES_PER_REFERENCE = 32
"""Places tried in a reference before another one is taken."""
REFERENCES_PER_CLASS = 4
"""References tried per class that is wanted, before there are fewer classes."""
MINIMUM_HELD_OUT = 3
"""Held-out scans of a class, where there are so many: of fewer no accuracy can be told (ours)."""
CANDIDATES_PER_NEIGHBOUR = 3
"""Of so many times as many nearest scans as are wanted, those are taken where the place shows enough foreground."""


@dataclass(frozen=True)
class FoundClass:
    """A class by the numbers of scans in the `ScanTable`, see `PseudoClass`."""

    reference: int
    place: tuple[float, ...]
    train: tuple[int, ...]
    held_out: tuple[int, ...]


class ClassSearch:
    """Draws references and places until there are enough classes, or no more can be found.

    Args:
        scans: All scans.
        boxes: (scans, 3, 2) foreground boxes.
        crop_size: Voxels per axis of a crop.
        spacing: Millimetres per voxel along these axes.
        config: Number of classes and neighbours, distances.
        nearest: Which scans are alike.
    """

    def __init__(
        self,
        scans: ScanTable,
        boxes: npt.NDArray[np.int32],
        crop_size: tuple[int, ...],
        spacing: tuple[float, ...],
        *,
        config: DiscoveryConfig,
        nearest: NeighbourSearch,
    ) -> None:
        self.scans, self.boxes, self.crop_size, self.spacing = scans, boxes, crop_size, spacing
        self.config, self.nearest = config, nearest
        self._size = size_in_voxels(crop_size)
        held_out = len(scans) - scans.num_train
        self.num_classes = min(config.num_classes, max(2, scans.num_train // 2))
        self.num_train = min(config.neighbours, max(2, scans.num_train // 3))
        self.num_held_out = min(config.held_out_neighbours, held_out, max(MINIMUM_HELD_OUT, held_out // 3))

    def find(self, seed: int) -> list[FoundClass]:
        """Find the classes.

        Raises:
            DataError: If there are fewer than two.
        """
        generator = numpy_generator(seed, Stream.DISCOVERY)
        count = min(self.scans.num_train, REFERENCES_PER_CLASS * self.num_classes)
        references = generator.choice(self.scans.num_train, count, replace=False, p=self.scans.chances)
        found: list[FoundClass] = []
        for reference in references.tolist():
            if len(found) == self.num_classes:
                break
            one = self._find_one(reference, [other.place for other in found], generator)
            if one is not None:
                found.append(one)
        if len(found) < 2:
            raise DataError(
                f"self-discovery found {len(found)} place(s) that several scans share, at least 2 are needed: in"
                f" {count} scans, crops of {' x '.join(map(str, self.crop_size))} voxels are mostly background or lie"
                " outside of the other scans",
                mend="look at the scans with genesis preview; another pretext needs no such places",
            )
        if len(found) < self.num_classes:
            LOGGER.warning(
                "self-discovery: %d classes instead of %d: the scans have no room for more places that are at least %g"
                " sides of a crop (%s voxels) apart and hold enough foreground",
                len(found),
                self.num_classes,
                self.config.min_distance,
                " x ".join(map(str, self.crop_size)),
            )
        return found

    def _find_one(
        self, reference: int, taken: list[tuple[float, ...]], generator: np.random.Generator
    ) -> FoundClass | None:
        """Try places in one reference; every try is judged by itself."""
        box = self.boxes[reference]
        candidates: tuple[list[int], list[int]] | None = None
        for _ in range(TRIES_PER_REFERENCE):
            place = express_place(box, _draw_centre(box, self._size, generator), self.spacing)
            apart = distances(place, taken, self.crop_size, self.spacing)
            if (apart < self.config.min_distance).any() or not self._shows(reference, place):
                continue
            if candidates is None:
                candidates = (
                    self.nearest.train(reference, CANDIDATES_PER_NEIGHBOUR * self.num_train),
                    self.nearest.held_out(reference, CANDIDATES_PER_NEIGHBOUR * self.num_held_out),
                )
            train = self._first_that_show(candidates[0], place, self.num_train)
            held_out = self._first_that_show(candidates[1], place, self.num_held_out)
            if len(train) >= max(2, self.num_train // 2) and held_out:
                return FoundClass(reference, place, tuple(train), tuple(held_out))
        return None

    def _first_that_show(self, candidates: list[int], place: tuple[float, ...], count: int) -> list[int]:
        chosen: list[int] = []
        for scan in candidates:
            if len(chosen) == count:
                break
            if self._shows(scan, place):
                chosen.append(scan)
        return chosen

    def _shows(self, scan: int, place: tuple[float, ...]) -> bool:
        """Whether enough of the crop is foreground; what lies outside of the scan is none."""
        first = first_voxels(find_centres(self.boxes[scan], place, self.spacing), self._size)
        share = foreground_shares(
            self.scans.foreground(scan), self.scans.shapes[scan].tolist(), first[None], self._size
        )
        return float(share[0]) >= 1 - self.config.max_background_share


def _draw_centre(
    box: npt.NDArray[np.int32], size: tuple[int, int, int], generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw where a crop of this size lies in a box; in the middle of an axis that cannot carry it."""
    low, high = box[:, 0].astype(np.float64), box[:, 1].astype(np.float64)
    room = np.maximum(0, high - low - np.asarray(size))
    return np.asarray((low + high) / 2 + room * (generator.random(3) - 0.5))
