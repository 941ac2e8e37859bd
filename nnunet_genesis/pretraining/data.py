"""Preprocessed cases as one indexable source of patches.

Patch number i is a pure function of the seed and i, so batches are the same whatever the number of workers or
processes, and a continued run goes on with the very patches that it would have seen.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import blosc2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from nnunet_genesis.pretraining.case_files import open_case, read_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.intensities import IntensityRange

MAX_TRIES = 5
"""Patches drawn at most where the first ones are mostly background; the fullest is kept."""


class PatchDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Random patches of preprocessed cases, without labels.

    A patch lies anywhere in a case; where the case is smaller than the patch it is padded with zeros on both sides,
    as nnU-Net does. A patch that is mostly background is drawn again.

    Args:
        cases_folder: Folder of the preprocessed cases.
        cases: Identifiers to draw from, each with equal chance.
        patch_size: Two or three voxel counts. Two: a random slice along the first axis of the case.
        intensities: Tells background from the rest.
        max_background_share: Patches with a larger share of background voxels are drawn again.
        seed: A list of integers; decides, with the index, everything random.
    """

    def __init__(
        self,
        cases_folder: Path,
        cases: Sequence[str],
        patch_size: tuple[int, ...],
        intensities: IntensityRange,
        *,
        max_background_share: float,
        seed: Sequence[int],
    ) -> None:
        self.cases_folder, self.cases, self.patch_size = cases_folder, list(cases), patch_size
        self.intensities, self.max_background_share, self.seed = intensities, max_background_share, tuple(seed)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read patch number `index`, any non-negative integer.

        Returns:
            Patch (channels, *patch_size) float32, and the box inside it that is no padding: (spatial axes, 2) int64,
            first voxel and the one after the last.
        """
        generator = np.random.default_rng([*self.seed, index])
        best: tuple[float, npt.NDArray[np.float32], list[tuple[int, int]]] | None = None
        for _ in range(MAX_TRIES):
            case = self.cases[generator.integers(len(self.cases))]
            patch, inside = self._read_patch(case, generator)
            share = self._background_share(patch, inside)
            if best is None or share < best[0]:
                best = share, patch, inside
            if share <= self.max_background_share:
                break
        _, patch, inside = best  # type: ignore[misc]
        return torch.from_numpy(patch), torch.tensor(inside)

    def _background_share(self, patch: npt.NDArray[np.float32], inside: list[tuple[int, int]]) -> float:
        # Judged on every second voxel per axis, an eighth of the work.
        thinned = (slice(None), *(slice(start, stop, 2) for start, stop in inside))
        return float(self.intensities.background(patch[thinned]).mean())

    def _read_patch(
        self, case: str, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], list[tuple[int, int]]]:
        array = open_case(self.cases_folder, case)
        size = (1,) * (3 - len(self.patch_size)) + self.patch_size
        source: list[slice] = [slice(None)]
        inside: list[tuple[int, int]] = []
        for length, side in zip(array.shape[1:], size, strict=True):
            first = _draw_first_voxel(length, side, generator)
            source.append(slice(max(0, first), min(length, first + side)))
            inside.append((max(0, -first), max(0, -first) + source[-1].stop - source[-1].start))
        patch = read_part(array, tuple(source), self.cases_folder, case)
        if patch.shape[1:] != size:
            padded = np.zeros((array.shape[0], *size), dtype=np.float32)
            padded[(slice(None), *(slice(start, stop) for start, stop in inside))] = patch
            patch = padded
        return patch.reshape(-1, *self.patch_size), inside[-len(self.patch_size) :]


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


def build_loader(dataset: PatchDataset, sampler: StepSampler, *, workers: int, pin_memory: bool) -> DataLoader[Any]:
    """Feed batches from worker processes (or from this one where `workers` is 0)."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_prepare_worker,
        prefetch_factor=4 if workers else None,
    )


def _draw_first_voxel(length: int, side: int, generator: np.random.Generator) -> int:
    """First voxel of a patch along one axis, by nnU-Net's rule: pad on both sides where the case is too short."""
    missing = max(0, side - length)
    lowest, highest = -missing // 2, length + missing // 2 + missing % 2 - side
    return int(generator.integers(lowest, highest + 1))


def _prepare_worker(_: int) -> None:
    """One thread per worker; Ctrl-C and SIGTERM are for the main process, which ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    blosc2.set_nthreads(1)
