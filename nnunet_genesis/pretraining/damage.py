"""Patches of cases that are damaged on the way: another is drawn in their place, and what is wrong is reported.

Which patch takes the place depends on the seed, the number of the patch and the files alone, so that a run meets the
same patches again, whatever its number of workers, and a run over whole files never notices that this module exists.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import Dataset, default_collate

from nnunet_genesis.errors import DataError, GenesisError
from nnunet_genesis.pretraining.case_files import read_whole
from nnunet_genesis.scans.voxel_hash import hash_voxels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.data import CasePatches, Patch

FURTHER_DRAWS = (1 << 40) + 1
"""Patches that take another's place have its number plus a multiple of this, which no run gets to.

It is odd: held-out scans take turns, and an even one could meet the same scan at every turn."""
SECONDS_BEFORE_SECOND_LOOK = 1.0
"""A network file system may be away for a moment."""
READ_PER_CHECK = 100
"""Voxels that are read as patches for every voxel that is read to check a whole case (ours)."""
NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Damage:
    """What is wrong with a case.

    Attributes:
        source: Number of the source.
        case: Number of the case in it.
        reason: In words.
    """

    source: int
    case: int
    reason: str


class Reading(NamedTuple):
    """A patch, or why there is none.

    Attributes:
        patch: The patch; one that took its place where `damages` tell of it.
        damages: What was found on the way.
        failure: What ends the run; errors that are raised in a worker arrive with its traceback as their text.
    """

    patch: Patch | None
    damages: list[Damage]
    failure: GenesisError | None


class Batch(NamedTuple):
    """A collated batch of `Reading`."""

    patches: Any
    damages: list[Damage]
    failure: GenesisError | None


class ReplacedPatches(Dataset[Reading]):
    """Patches of whole cases; those of damaged ones are drawn anew.

    Args:
        patches: What is read.
        indices: Its cases, per source.
        most_lost: Cases that may be damaged at most before there is no point in drawing on.
        patch_voxels: Voxels of a patch: so often whole cases are checked beside; None for never.
    """

    def __init__(
        self, patches: CasePatches, indices: Sequence[CaseIndex], *, most_lost: int, patch_voxels: int | None = None
    ) -> None:
        self.patches, self.indices, self.most_lost = patches, list(indices), most_lost
        self.lost_from = [torch.full((len(index),), NEVER).share_memory_() for index in self.indices]
        """Per source and case the patch number from which on it is not read any more; workers see it change."""
        self.first_lost = torch.full((1,), NEVER).share_memory_()
        """The lowest of these numbers."""
        self._looked_twice: set[tuple[int, int]] = set()
        self._sizes = [len(index) for index in self.indices]
        voxels = [float(index.shapes.astype(float).prod(1).mean()) for index in self.indices if len(index)]
        self.check_every = math.ceil(READ_PER_CHECK * max(voxels) / patch_voxels) if patch_voxels else 0

    def __getitem__(self, index: int) -> Reading:
        """Read patch number `index`, or one in its place."""
        damages: list[Damage] = []
        try:
            if self.check_every and index and index % self.check_every == 0:
                damages += self._check_next(index)
            for attempt in range(2 * self.most_lost + 64):
                number = index + attempt * FURTHER_DRAWS
                found = self._read(number, index)
                if not isinstance(found, Damage):
                    return Reading(found, damages, None)
                if found.reason:
                    damages.append(found)
                if len({(one.source, one.case) for one in damages}) > self.most_lost:
                    break
        except GenesisError as error:
            return Reading(None, damages, error)
        return Reading(None, damages, None)

    def _read(self, number: int, index: int) -> Patch | Damage:
        """Read a patch; a case that is known to be lost is damage without a reason."""
        if int(self.first_lost) <= index:
            source, case = self.patches.case_of(number)
            if self.lost_from[source][case] <= index:
                return Damage(source, case, "")
        try:
            return self.patches[number]
        except DataError as error:
            source, case = self.patches.case_of(number)
            if (source, case) in self._looked_twice:
                return Damage(source, case, error.problem)
            self._looked_twice.add((source, case))
        time.sleep(SECONDS_BEFORE_SECOND_LOOK)
        return self._read(number, index)

    def _check_next(self, index: int) -> list[Damage]:
        """Compare a case, each in its turn, with its hash: most flipped bits do not disturb its decompression."""
        turn = index // self.check_every % sum(self._sizes)
        source = 0
        while turn >= self._sizes[source]:
            turn -= self._sizes[source]
            source += 1
        if self.lost_from[source][turn] <= index:
            return []
        reason = find_damage(self.indices[source], turn)
        return [Damage(source, turn, reason)] if reason else []


def find_damage(index: CaseIndex, case: int) -> str:
    """Read a whole case and say what is wrong with it; nothing where its voxels are those that were hashed."""
    try:
        voxels = read_whole(index.file(case))
    except DataError as error:
        return error.problem
    return "" if hash_voxels(voxels) == index.sha256[case] else "its voxels are not those that were indexed"


def collate(readings: Sequence[Reading]) -> Batch:
    """Put readings into a batch; one without a patch makes a batch without patches."""
    patches = [reading.patch for reading in readings]
    failures = [reading.failure for reading in readings if reading.failure is not None]
    damages = [damage for reading in readings for damage in reading.damages]
    together = None if any(patch is None for patch in patches) else default_collate(patches)
    return Batch(together, damages, failures[0] if failures else None)
