"""Preprocessed cases as one indexable source of patches.

Patch number i is a pure function of the seed and i, so batches are the same whatever the number of workers or
processes, and a continued run goes on with the very patches that it would have seen.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import blosc2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from nnunet_genesis.pretraining.crop_reading import as_tensor, read_crop
from nnunet_genesis.pretraining.interruption import leave_signals_to_main_process
from nnunet_genesis.pretraining.places import choose, draw_case, draw_first_voxels, foreground_inside
from nnunet_genesis.pretraining.seeds import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.sources import Source

Labels: TypeAlias = "Mapping[str, torch.Tensor]"
"""What is known of the patches of a batch, (batch,) int64 each, by name; ``source`` is the number of the source."""
Patch = tuple[torch.Tensor, torch.Tensor, dict[str, int]]
"""(channels, *patch_size) float32; what of it is no padding, (spatial axes, 2) int64; its labels."""


class CasePatches(Dataset[Patch]):
    """Patches by number, each of one case."""

    @abstractmethod
    def case_of(self, index: int) -> tuple[int, int]:
        """Number of the source, and of the case in it, that patch number `index` is of; nothing is read."""


@dataclass(frozen=True)
class Place:
    """Where a patch lies.

    Attributes:
        source: Number of the source.
        case: Number of the case in the source.
        first_voxel: Per spatial axis of the case; negative where the patch begins in padding.
        foreground: Estimated share of foreground voxels in what is no padding.
    """

    source: int
    case: int
    first_voxel: tuple[int, int, int]
    foreground: float


class PatchDataset(CasePatches):
    """Random patches of preprocessed cases, without labels.

    A source is drawn by its chance, then a case, then a place in it. A patch lies anywhere in its case; where the case
    is smaller than the patch it is padded with zeros on both sides, as nnU-Net does. Places that are mostly background
    by the case's foreground map are drawn again, before anything is read.

    Args:
        indices: The cases of every source.
        chances: Share of the patches per source, adding up to 1.
        patch_size: Two or three voxel counts. Two: a random slice along the first axis of the case.
        max_background_share: Places with a larger share of background are drawn again.
        seed: A list of integers; decides, with the index, everything random.
    """

    def __init__(
        self,
        indices: Sequence[CaseIndex],
        chances: Sequence[float],
        patch_size: tuple[int, ...],
        *,
        max_background_share: float,
        seed: Sequence[int],
    ) -> None:
        self.indices, self.chances, self.patch_size = list(indices), list(chances), patch_size
        self._limits = np.cumsum(self.chances)
        self.max_background_share, self.seed = max_background_share, tuple(seed)
        self._size = (1,) * (3 - len(patch_size)) + tuple(patch_size)

    @classmethod
    def for_training(cls, sources: Sequence[Source], patch_size: tuple[int, ...], config: PretrainingConfig) -> Self:
        """The patches that a run learns from."""
        return cls(
            [source.train for source in sources],
            [source.chance for source in sources],
            patch_size,
            max_background_share=config.max_background_share,
            seed=(config.seed, int(Stream.TRAIN_PATCHES)),
        )

    @classmethod
    def for_validation(cls, source: Source, patch_size: tuple[int, ...], config: PretrainingConfig) -> Self:
        """Patches of the held-out cases of one source."""
        return cls(
            [source.validation],
            [1.0],
            patch_size,
            max_background_share=config.max_background_share,
            seed=(config.seed, int(Stream.VAL_PATCHES), zlib.crc32(source.name.encode())),
        )

    def locate(self, index: int) -> Place:
        """Decide where patch number `index` lies, any non-negative integer; nothing is read."""
        generator = np.random.default_rng([*self.seed, index])
        source, case = draw_case(self.indices, self._limits, generator)
        return self._draw_place(source, case, generator)

    def case_of(self, index: int) -> tuple[int, int]:
        """Number of the source, and of the case in it, that patch number `index` is of; nothing is read."""
        place = self.locate(index)
        return place.source, place.case

    def _draw_place(self, source: int, case: int, generator: np.random.Generator) -> Place:
        """Anywhere in a case, padded where it is too small."""
        cases = self.indices[source]
        shape = cases.shapes[case].tolist()
        first_voxels = draw_first_voxels(shape, self._size, generator)
        shares = foreground_inside(cases.foreground[case], shape, first_voxels, self._size)
        chosen = choose(shares, self.max_background_share)
        z, y, x = first_voxels[chosen].tolist()
        return Place(source, case, (z, y, x), float(shares[chosen]))

    def __getitem__(self, index: int) -> Patch:
        """Read patch number `index`, any non-negative integer.

        Returns:
            Patch (channels, *patch_size) float32; the box inside it that is no padding: (spatial axes, 2) int64,
            first voxel and the one after the last; and the number of its source.
        """
        place = self.locate(index)
        cases = self.indices[place.source]
        shape = cases.shapes[place.case].tolist()
        patch, inside = read_crop(cases.file(place.case), shape, place.first_voxel, self._size)
        voxels = patch.reshape(-1, *self.patch_size)
        return voxels, as_tensor(inside, len(self.patch_size)), {"source": place.source}


class StepSampler(Sampler[list[int]]):
    """The patch numbers of one process, step after step; together the processes cover every number once.

    Args:
        first_step: Step to begin with.
        last_step: Step to end before.
        batch_size: Patches per step over all processes.
        rank: Number of this process.
        world_size: Number of processes; divides `batch_size`.
    """

    def __init__(self, first_step: int, last_step: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.steps, self.batch_size = range(first_step, last_step), batch_size
        self.share = batch_size // world_size
        self.offset = rank * self.share

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of one batch per step."""
        for step in self.steps:
            first = step * self.batch_size + self.offset
            yield list(range(first, first + self.share))

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.steps)


def build_loader(
    dataset: Dataset[Any],
    sampler: StepSampler,
    *,
    workers: int,
    pin_memory: bool,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Any]:
    """Feed batches from worker processes (or from this one where `workers` is 0), put together by `collate`."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_prepare_worker,
        collate_fn=collate,
        prefetch_factor=4 if workers else None,
    )


def _prepare_worker(_: int) -> None:
    """One thread per worker; signals are for the main process."""
    leave_signals_to_main_process()
    torch.set_num_threads(1)
    blosc2.set_nthreads(1)
