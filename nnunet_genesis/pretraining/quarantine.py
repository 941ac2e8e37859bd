"""Cases that turned out damaged while a run went on: listed in its folder, told once, and not drawn from any more.

A case counts as lost from `STEPS_UNTIL_LOST` steps after its damage was met, in every process and worker alike, however
far ahead they read; until then only the patches that meet the damage are drawn anew. So a run stays a function of its
seed and of the files.
"""

from __future__ import annotations

import json
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.utils.data import Dataset

from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.files import write_json
from nnunet_genesis.pretraining.damage import Damage, ReplacedPatches, find_damage
from nnunet_genesis.pretraining.data import Patch
from nnunet_genesis.pretraining.sources import qualified

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from lightning_fabric import Fabric

    from nnunet_genesis.pretraining.damage import Batch
    from nnunet_genesis.pretraining.data import CasePatches
    from nnunet_genesis.pretraining.feeding import Batch as PatchBatch
    from nnunet_genesis.pretraining.sources import Source

LOGGER = logging.getLogger("nnunet_genesis")
QUARANTINE_FILE = "quarantine.json"
MOST_LOST_SHARE = 0.05
"""More of the cases than this must not be lost."""
STEPS_UNTIL_LOST = 1000
"""More than any worker reads ahead."""
STEPS_BETWEEN_EXCHANGES = 10
SECONDS_BETWEEN_TRIES = 60.0
TRAINING, HELD_OUT = "training", "held out"


class Quarantine:
    """The damaged cases of a run.

    Args:
        folder: Output folder.
        sources: Of the run.
        mend: What makes lost cases whole again.
        writes: Whether this process writes the list.
    """

    def __init__(self, folder: Path, sources: Sequence[Source], mend: str, *, writes: bool) -> None:
        self.file, self.sources, self.mend, self.writes = folder / QUARANTINE_FILE, list(sources), mend, writes
        self.entries: dict[str, dict[str, Any]] = {}
        self.names: list[str] = []
        """Names of all damaged cases, always the same list."""
        self.num_cases = sum(len(source.train) + len(source.validation) for source in sources)
        self.most_lost = math.floor(MOST_LOST_SHARE * self.num_cases)
        self._unwritten_since: float | None = None

    def start_anew(self) -> None:
        """Forget the list of an earlier run in the folder."""
        if self.writes:
            self.file.unlink(missing_ok=True)

    def take_over(self, workers: int) -> dict[str, dict[str, Any]]:
        """Read the list of the run that is continued; a case that is whole again is used as before.

        Raises:
            SetupError: If the list cannot be read.
        """
        try:
            listed = {entry["case"]: entry for entry in json.loads(self.file.read_text())["cases"]}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SetupError(
                f"the list of damaged cases cannot be read ({error})",
                where=self.file,
                mend="delete it: what is damaged will be found again",
            ) from error
        places = {
            qualified(source.name, str(name)): (index, number)
            for source in self.sources
            for index in (source.train, source.validation)
            for number, name in enumerate(index.identifiers)
            if qualified(source.name, str(name)) in listed
        }
        with ThreadPoolExecutor(max(1, workers)) as pool:
            damages = dict(zip(places, pool.map(lambda place: find_damage(*place), places.values()), strict=True))
        for name, damage in damages.items():
            if damage:
                LOGGER.warning("%s is still damaged (%s) and stays in quarantine", name, damage)
            else:
                LOGGER.warning("%s is whole again and leaves the quarantine", name)
        return {name: listed[name] for name, damage in damages.items() if damage}

    def restore(self, entries: dict[str, dict[str, Any]]) -> None:
        """Begin with entries that `take_over` returned."""
        self.entries = dict(entries)
        self.names[:] = entries
        if self.file.exists():
            self._write()
        self._check()

    def held_out(self, patches: CasePatches, source: Source) -> Dataset[Patch]:
        """Held-out patches of one source, those of damaged cases replaced and reported."""
        number = self.sources.index(source)
        return _HeldOut(self, ReplacedPatches(patches, [source.validation], most_lost=self.most_lost), number)

    def training(self, patches: CasePatches, patch_voxels: int) -> ReplacedPatches:
        """Patches to learn from, for `watch`."""
        indices = [source.train for source in self.sources]
        return ReplacedPatches(patches, indices, most_lost=self.most_lost, patch_voxels=patch_voxels)

    def watch(
        self,
        batches: Iterable[Batch],
        patches: ReplacedPatches,
        fabric: Fabric,
        *,
        first_step: int,
        batch_size: int,
    ) -> Iterator[PatchBatch]:
        """Take the reports out of batches.

        Args:
            batches: Of `patches`, one per step of this process.
            patches: What `training` returned.
            fabric: Tells of the other processes, which all watch.
            first_step: Step of the first batch.
            batch_size: Patches per step over all processes.

        Raises:
            DataError: If more than `MOST_LOST_SHARE` of the cases are lost.
        """
        self._tell_workers(patches, batch_size)
        found: list[Damage] = []
        for step, batch in enumerate(batches, first_step):
            if batch.failure is not None:
                raise batch.failure
            found += batch.damages
            if fabric.world_size == 1 or step % STEPS_BETWEEN_EXCHANGES == 0 or batch.patches is None:
                everything = _exchange(fabric, found) if batch.patches is not None else found
                if everything:
                    self.add(everything, TRAINING, step)
                    self._tell_workers(patches, batch_size)
                found = []
            if batch.patches is None:
                raise self._too_many("no whole case was found in many draws")
            if self._unwritten_since is not None and time.monotonic() - self._unwritten_since > SECONDS_BETWEEN_TRIES:
                self._write()
            yield batch.patches

    def add(self, damages: Sequence[Damage], side: str, step: int) -> None:
        """List damaged cases that are not listed yet.

        Raises:
            DataError: If more than `MOST_LOST_SHARE` of the cases are lost.
        """
        before = len(self.entries)
        for damage in sorted(damages, key=lambda one: (one.source, one.case)):
            source = self.sources[damage.source]
            index = source.train if side == TRAINING else source.validation
            name = qualified(source.name, str(index.identifiers[damage.case]))
            if name in self.entries:
                continue
            file = index.file(damage.case)
            self.entries[name] = {
                "case": name,
                "file": str(file),
                "reason": damage.reason,
                "side": side,
                "found": datetime.now(tz=timezone.utc).isoformat(timespec="seconds"),
                "step": step,
                **({"not_read_from_step": step + STEPS_UNTIL_LOST} if side == TRAINING else {}),
            }
            self.names.append(name)
            LOGGER.warning(
                "quarantine: case %s, %s: %s; %d of %d cases are lost, %d may be; see %s",
                name, side, damage.reason, len(self.entries), self.num_cases, self.most_lost, self.file,
            )  # fmt: skip
        if len(self.entries) > before:
            self._write()
            self._check()

    def _tell_workers(self, patches: ReplacedPatches, batch_size: int) -> None:
        for source, lost_from in zip(self.sources, patches.lost_from, strict=True):
            for number in torch.arange(len(lost_from)).tolist() if self.entries else []:
                entry = self.entries.get(qualified(source.name, str(source.train.identifiers[number])))
                if entry is not None and "not_read_from_step" in entry:
                    lost_from[number] = entry["not_read_from_step"] * batch_size
        if self.entries:
            patches.first_lost[0] = min(int(lost_from.min()) for lost_from in patches.lost_from if len(lost_from))

    def _check(self) -> None:
        if len(self.entries) > self.most_lost:
            raise self._too_many(next(iter(self.entries.values()))["reason"])

    def _too_many(self, reason: str) -> DataError:
        lost = len(self.entries)
        first = next(iter(self.entries.values()), None)
        why = "" if lost > self.most_lost else f"{reason}: "
        return DataError(
            f"{why}{lost} of {self.num_cases} cases are damaged or gone ({100 * lost / self.num_cases:.1f} %, more"
            f" than {100 * MOST_LOST_SHARE:.0f} % stop a run)"
            + (f"; the first is {first['case']}: {first['reason']}" if first else f": {reason}"),
            where=first["file"] if first else None,
            mend=f"make sure that the file system is there; {self.mend}; then go on with --c (the list: {self.file})",
        )

    def _write(self) -> None:
        if not self.writes:
            return
        try:
            write_json({"format_version": 1, "cases": list(self.entries.values())}, self.file)
        except OSError as error:
            if self._unwritten_since is None:
                LOGGER.warning("%s cannot be written (%s): tried again later", self.file, error.strerror or error)
            self._unwritten_since = time.monotonic()
        else:
            self._unwritten_since = None


class _HeldOut(Dataset[Patch]):
    def __init__(self, quarantine: Quarantine, patches: ReplacedPatches, source: int) -> None:
        self.quarantine, self.patches, self.source = quarantine, patches, source

    def __getitem__(self, index: int) -> Patch:
        reading = self.patches[index]
        if reading.failure is not None:
            raise reading.failure
        self.quarantine.add([Damage(self.source, one.case, one.reason) for one in reading.damages], HELD_OUT, 0)
        if reading.patch is None:
            raise self.quarantine._too_many("no whole case was found in many draws")
        return reading.patch


def _exchange(fabric: Fabric, found: list[Damage]) -> list[Damage]:
    """What all processes found."""
    if fabric.world_size == 1:
        return found
    count = fabric.all_reduce(torch.tensor(float(len(found)), device=fabric.device), reduce_op="sum")
    if not float(count):  # type: ignore[arg-type]
        return []
    gathered: list[list[Damage]] = [[] for _ in range(fabric.world_size)]
    distributed.all_gather_object(gathered, found)
    return [damage for one in gathered for damage in one]
