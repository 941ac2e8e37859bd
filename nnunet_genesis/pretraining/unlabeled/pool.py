"""A pool on disk: preprocessed images, and one line of text per image that says where it came from.

``cases.jsonl`` only ever grows: a case counts as done once its line is written, after its image was renamed into place,
and as removed once another line says so.
A process that dies leaves at most half a line and a file in ``.partial``, both of which the next run clears away.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.preprocessing_facts import describe_differences
from nnunet_genesis.pretraining.single_channel import single_channel_plans
from nnunet_genesis.pretraining.unlabeled.pool_case import PoolCase, read_line, write_line, write_removal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration

__all__ = ["Pool", "PoolCase", "find_pools", "open_pools"]

POOL_FORMAT = 1
POOL_FILE = "pool.json"
CASES_FILE = "cases.jsonl"
IMAGES_TS_POOL = "imagesTs"
"""Name of the pool of a dataset's own test images."""
PARTIAL_FOLDER = ".partial"


class Pool:
    """Files of one pool.

    Args:
        folder: ``nnUNet_preprocessed/DATASET/<data_identifier>__unlabeled/NAME``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases_file, self.pool_file = folder / CASES_FILE, folder / POOL_FILE
        self.partial_folder = folder / PARTIAL_FOLDER

    @property
    def name(self) -> str:
        """Name of the pool."""
        return self.folder.name

    def create(self, description: Mapping[str, Any]) -> None:
        """Make the folder and say what the pool is; an existing description stays as it is."""
        self.partial_folder.mkdir(parents=True, exist_ok=True)
        if not self.pool_file.exists():
            self.describe({"format_version": POOL_FORMAT, **description})

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write what the pool is, in place of what was written before."""
        part = self.partial_folder / POOL_FILE
        part.write_text(json.dumps(description, indent=2) + "\n")
        part.replace(self.pool_file)

    def check_plans(self, planned: PlannedConfiguration, *, single_channel: bool = False) -> None:
        """Make sure that the pool was preprocessed as the plans say now.

        Args:
            planned: The plans.
            single_channel: Whether scans of one channel, normalised like the first one of the plans, will do as well.

        Raises:
            DataError: If the pool's description cannot be read.
            SetupError: Naming every fact that differs.
        """
        try:
            description = read_json(self.pool_file)
            stored = dict(description["preprocessing"])
            version = int(description["format_version"])
        except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise DataError(
                f"pool {self.name} has no readable description ({type(error).__name__}: {error})",
                where=self.pool_file,
                mend="delete the pool's folder and run genesis preprocess-unlabeled again",
            ) from error
        if version != POOL_FORMAT:
            raise DataError(
                f"pool {self.name} has format {version}, this version of nnunet-genesis reads format {POOL_FORMAT}",
                where=self.pool_file,
                mend="update nnunet-genesis, or preprocess the scans again under another --name",
            )
        differences = describe_differences(planned.preprocessing, stored)
        if single_channel and not describe_differences(single_channel_plans(planned).preprocessing, stored):
            return
        if differences and stored.get("channels") == 1 != planned.num_channels:
            raise SetupError(
                f"the scans of pool {self.name} have one channel, the plans have {planned.num_channels}",
                where=self.folder,
                mend="genesis-pretrain-nnunet with --single-channel, or build a pool of scans with all channels",
            )
        if differences:
            raise SetupError(
                f"pool {self.name} was preprocessed by other plans:\n"
                + "\n".join(f"    {difference}" for difference in differences),
                where=self.folder,
                mend=f"genesis preprocess-unlabeled -d {planned.dataset_name} -c {planned.configuration}"
                f" -p {planned.plans_name} -i FOLDER --name ANOTHER_NAME",
            )

    def count_channels(self) -> int:
        """Channels of its scans; the pool was opened before, so that its description is there."""
        return int(read_json(self.pool_file)["preprocessing"]["channels"])

    def read_cases(self) -> list[PoolCase]:
        """Read the lines of all cases, the later one where a case was done again, none where it was removed.

        Half a line at the end, of a process that died, is no case.

        Raises:
            DataError: If another line cannot be read.
        """
        if not self.cases_file.exists():
            return []
        cases: dict[str, PoolCase] = {}
        # Bytes that are no UTF-8 spoil their line alone.
        lines = self.cases_file.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line or number == len(lines):
                continue  # the text after the last line break is empty, or a line that was never finished
            try:
                read_line(line.decode(), cases)
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(
                    f"line {number} of the pool's list of cases cannot be read ({type(error).__name__}: {error})",
                    where=self.cases_file,
                    mend="delete that line and run genesis preprocess-unlabeled again: it redoes that case alone",
                ) from error
        return list(cases.values())

    def clear_partial(self) -> None:
        """Remove what a process that died has left: half a line, and half-written images."""
        shutil.rmtree(self.partial_folder, ignore_errors=True)
        self.partial_folder.mkdir(parents=True, exist_ok=True)
        if self.cases_file.exists():
            with self.cases_file.open("rb+") as stream:
                content = stream.read()
                stream.truncate(content.rfind(b"\n") + 1)

    def add(self, image: Path, case: PoolCase) -> None:
        """Take an image from the partial folder into the pool, then write its line.

        Args:
            image: File in `partial_folder`.
            case: What to write.
        """
        image.replace(self.folder / case.file)
        self._append(write_line(case))

    def remove(self, case: PoolCase, reason: str) -> None:
        """Take a case out again: write a line that says so and why, then remove its image."""
        self._append(write_removal(case.identifier, reason))
        (self.folder / case.file).unlink(missing_ok=True)

    def whole_images(self, cases: Sequence[PoolCase]) -> dict[str, PoolCase]:
        """Those cases, by name, whose image is there and as large as it was when it was written."""
        with os.scandir(self.folder) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".b2nd")}
        return {case.identifier: case for case in cases if sizes.get(case.file) == case.bytes}

    def _append(self, line: str) -> None:
        with self.cases_file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())


def find_pools(planned: PlannedConfiguration) -> list[str]:
    """Names of the pools that exist for a configuration."""
    folder = planned.pools_folder
    return sorted(file.parent.name for file in folder.glob(f"*/{POOL_FILE}")) if folder.is_dir() else []


def open_pools(planned: PlannedConfiguration, names: Sequence[str], *, single_channel: bool = False) -> list[Pool]:
    """Open pools that exist and fit the plans.

    Args:
        planned: The plans.
        names: Of the pools.
        single_channel: As in `Pool.check_plans`.

    Raises:
        SetupError: If there is none of a name, or it was preprocessed by other plans.
    """
    there = find_pools(planned)
    pools = []
    for name in names:
        if name not in there:
            raise SetupError(
                f"there is no pool '{name}'; pools here: {', '.join(there) or '(none)'}",
                where=planned.pools_folder,
                mend=f"genesis preprocess-unlabeled -d {planned.dataset_name} -c {planned.configuration}"
                f" -p {planned.plans_name} " + ("--imagesTs" if name == IMAGES_TS_POOL else f"-i FOLDER --name {name}"),
            )
        pool = Pool(planned.pools_folder / name)
        pool.check_plans(planned, single_channel=single_channel)
        pools.append(pool)
    return pools
