"""Crops of the classes as a dataset of patches with pseudo-labels, cut from the preprocessed files when asked for."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.crop_reading import as_tensor, read_crop, read_resized
from nnunet_genesis.pretraining.data import CasePatches
from nnunet_genesis.pretraining.discovery.geometry import find_centres, first_voxels, size_in_voxels
from nnunet_genesis.pretraining.seeds import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import torch

    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.discovery.result import Discovery
    from nnunet_genesis.pretraining.sources import Source

SCALES = (50 / 64, 80 / 64)
"""Sides of a varied crop in plane, in sides of an exact one (published)."""
JITTER = 10 / 64
"""How far a varied crop is moved in plane at most, in sides (published)."""
EXACT_SHARE = 1 / 3
"""Share of the training crops that are exact (published: one of three)."""

Item = tuple["torch.Tensor", "torch.Tensor", dict[str, int]]


class SemanticPatches(CasePatches):
    """Crops around the places of the classes; crop number i is a pure function of the seed and i.

    A class is drawn, then one of its scans, all alike. One of three training crops is exact; two have their in-plane
    sides (the last two axes) scaled by 50/64 to 80/64 and are moved in plane by up to 10/64 of a side, then resized.
    Held-out crops are exact, so a repeated one would tell nothing new: they go through the classes in turn, and through
    the scans of each in an order by seed. No crop is mirrored: left and right are different places.

    Args:
        sources: The sources that `discover` was given, all or some; a label "source" is the number in this list.
        discovery: The classes.
        seed: A list of integers; decides, with the index, everything random.
        held_out: Cut from held-out scans, without variation, instead of from training scans.

    Raises:
        SetupError: If the discovery was made of other cases, or none of its scans is in these sources.
    """

    def __init__(
        self, sources: Sequence[Source], discovery: Discovery, *, seed: Sequence[int], held_out: bool = False
    ) -> None:
        self.indices = [source.validation if held_out else source.train for source in sources]
        self.crop_size, self.spacing = discovery.crop_size, discovery.spacing
        self.seed, self.held_out = tuple(seed), held_out
        self._size = size_in_voxels(discovery.crop_size)
        self._boxes = np.array([scan.box for scan in discovery.scans], dtype=np.int32)
        members = [np.array(one.held_out if held_out else one.train, dtype=np.int64) for one in discovery.classes]
        self._source, self._case = _look_up(
            sources, self.indices, discovery, np.unique(np.concatenate(members)).tolist()
        )
        self._members = [scans[self._source[scans] >= 0] for scans in members]
        self._places = np.array([one.place for one in discovery.classes])
        self.classes = np.array([number for number, scans in enumerate(self._members) if len(scans)])
        if not len(self.classes):
            names = ", ".join(source.name for source in sources)
            raise SetupError(f"no class has a {'held-out' if held_out else 'training'} scan of {names}")
        if held_out:
            generator = np.random.default_rng(self.seed)
            self.classes = generator.permutation(self.classes)
            self._members = [generator.permutation(scans) for scans in self._members]

    def case_of(self, index: int) -> tuple[int, int]:
        """Number of the source, and of the case in it, that crop number `index` is of; nothing is read."""
        _, scan = self._draw(index, np.random.default_rng([*self.seed, index]))
        return int(self._source[scan]), int(self._case[scan])

    def _draw(self, index: int, generator: np.random.Generator) -> tuple[int, int]:
        """Draw a class and one of its scans."""
        if self.held_out:
            turn, position = divmod(index, len(self.classes))
            number = int(self.classes[position])
            return number, int(self._members[number][turn % len(self._members[number])])
        number = int(generator.choice(self.classes))
        return number, int(generator.choice(self._members[number]))

    def __getitem__(self, index: int) -> Item:
        """Cut crop number `index`, any non-negative integer.

        Returns:
            Crop (channels, *crop_size) float32; the box inside it that is no padding, (spatial axes, 2) int64; and its
            labels: number of the source and of the class.
        """
        generator = np.random.default_rng([*self.seed, index])
        number, scan = self._draw(index, generator)
        source, case = int(self._source[scan]), int(self._case[scan])
        cases = self.indices[source]
        file, shape = cases.file(case), cases.shapes[case].tolist()
        centre = find_centres(self._boxes[scan], self._places[number].tolist(), self.spacing)
        first = first_voxels(centre, self._size)
        if self.held_out or generator.random() < EXACT_SHARE:
            crop, inside = read_crop(file, shape, first.tolist(), self._size)
        else:
            start, cell = first.astype(np.float64), np.ones(3)
            side = np.asarray(self._size[1:])
            cell[1:] = generator.uniform(*SCALES)
            start[1:] = centre[1:] + generator.uniform(-JITTER, JITTER, 2) * side - cell[1:] * side / 2
            crop, inside = read_resized(file, shape, start.tolist(), cell.tolist(), self._size)
        axes = len(self.crop_size)
        labels = {"source": source, "class": number}
        return crop.reshape(-1, *self.crop_size), as_tensor(inside, axes), labels


def training_crops(sources: Sequence[Source], discovery: Discovery, seed: int) -> SemanticPatches:
    """The crops that a run learns from."""
    return SemanticPatches(sources, discovery, seed=(seed, int(Stream.TRAIN_PATCHES)))


def held_out_crops(source: Source, discovery: Discovery, seed: int) -> SemanticPatches:
    """Crops of the held-out scans of one source; see `Discovery.held_out_sources`."""
    number = zlib.crc32(source.name.encode())
    return SemanticPatches([source], discovery, seed=(seed, int(Stream.VAL_PATCHES), number), held_out=True)


def _look_up(
    sources: Sequence[Source], indices: Sequence[CaseIndex], discovery: Discovery, wanted: Sequence[int]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Find scans of a discovery: per scan the number of its source, -1 where that is not here, and its number there."""
    found_source = np.full(len(discovery.scans), -1, dtype=np.int32)
    found_case = np.zeros(len(discovery.scans), dtype=np.int32)
    numbers = {source.name: number for number, source in enumerate(sources)}
    cases = [{str(name): case for case, name in enumerate(index.identifiers)} for index in indices]
    for one in wanted:
        scan = discovery.scans[one]
        source = numbers.get(scan.source)
        if source is None:
            continue
        if scan.case not in cases[source]:
            raise SetupError(
                f"the classes were discovered in other cases: {scan.source} has no {scan.case}, or has it on the other"
                " side of the split",
                mend="discover classes again: genesis discover with the flags of the pretraining",
            )
        found_source[one], found_case[one] = source, cases[source][scan.case]
    return found_source, found_case
