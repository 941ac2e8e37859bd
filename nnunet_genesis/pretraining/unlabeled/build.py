"""Build a pool: find scans, preprocess them in parallel, leave out what cannot or must not be used, report."""

from __future__ import annotations

import logging
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.file_locks import locked_file
from nnunet_genesis.pretraining.unlabeled.case_preprocessing import PreprocessingJob
from nnunet_genesis.pretraining.unlabeled.excluded_scans import ExcludedScans
from nnunet_genesis.pretraining.unlabeled.pool import Pool
from nnunet_genesis.pretraining.unlabeled.pool_history import note_build
from nnunet_genesis.pretraining.unlabeled.progress import BuildProgress, count_files
from nnunet_genesis.pretraining.unlabeled.report import BuildOutcome, write_report
from nnunet_genesis.pretraining.unlabeled.report_figure import draw_pool
from nnunet_genesis.pretraining.unlabeled.resume import is_source_gone, sort_scans, spoilt_cases
from nnunet_genesis.pretraining.unlabeled.sifting import Sifter
from nnunet_genesis.pretraining.unlabeled.supervised import run_supervised
from nnunet_genesis.pretraining.unlabeled.worker import prepare_scan, start_worker
from nnunet_genesis.scans.finding import find_scans
from nnunet_genesis.upstream import check_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration

LOGGER = logging.getLogger("nnunet_genesis")
LOCK_FILE = ".lock"
MAX_VOXELS = 500_000_000
SECONDS_PER_SCAN = 1800.0


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        workers: Processes.
        seconds: Most that one scan may take.
        max_voxels: Most voxels of a scan per channel, raw and at the spacing of the plans.
        excluded: Keys of whole scans to leave out (`scan_key`), and a few words on what each is; see `ExcludedScans`.
        exclusions: What the user asked to exclude, as flags.
        flags_of_use: What pretraining must be told as well to learn from the pool as it was meant, as typed words.
        command: What the user typed, for the pool's description.
        channels_apart: Whether every channel of a scan is a scan of its own.
    """

    workers: int = 1
    seconds: float = SECONDS_PER_SCAN
    max_voxels: int = MAX_VOXELS
    excluded: Mapping[str, str] = field(default_factory=dict)
    exclusions: tuple[str, ...] = ()
    flags_of_use: tuple[str, ...] = ()
    command: str = ""
    channels_apart: bool = False


def build_pool(planned: PlannedConfiguration, inputs: Sequence[Path], name: str, options: BuildOptions) -> BuildOutcome:
    """Preprocess every usable scan of some folders into a pool.

    May be interrupted at any moment and called again: finished cases are kept. Source files are only read. Results do
    not depend on the number of workers.

    Args:
        planned: The plans to preprocess by.
        inputs: Folders, files and tables, see `find_scans`.
        name: Name of the pool; an existing one is continued.
        options: How to build.

    Raises:
        SetupError: If an input is missing, or the pool is of other plans, in use by another process, holds scans that
            are excluded now, or cannot be written.
        DataError: If an existing pool's files are damaged.
    """
    check_upstream("preprocessing")
    started = time.monotonic()
    pool = Pool(planned.pools_folder / name)
    if pool.folder.exists():
        with _locked(pool, planned):  # what stands against it is told before a search that may take long
            pass
    with count_files() as progress:
        found = find_scans(
            inputs,
            num_channels=planned.num_channels,
            endings=reader_endings(planned),
            channel_names=planned.channel_names,
            channels_apart=options.channels_apart,
            progress=progress,
        )
    with _locked(pool, planned):
        pool.clear_partial()
        listed = pool.read_cases()
        whole = pool.whole_images(listed)
        excluded = ExcludedScans(options.excluded)
        _refuse_excluded(pool, {name: case.scan for name, case in whole.items()}, excluded)
        notes = [*found.notes, *note_build(pool, planned, options)]
        vanished = [case for case in listed if case.identifier not in whole]
        for case in vanished:
            pool.remove(case, "its image has vanished or is damaged")
        todo = sort_scans(found.scans, list(whole.values()))
        redone = {scan.identifier for scan in todo.pending}
        untouched = whole.keys() - redone - set(todo.kept)
        spoilt = spoilt_cases([whole[case] for case in sorted(untouched)], found.skipped)
        sifter = Sifter(pool, list(whole.values()), redone, excluded, [*found.skipped, *todo.skipped])
        for case, why in spoilt:
            sifter.remove(case, why)
        unwanted = excluded.keys | sifter.known.keys()
        job = PreprocessingJob(planned, pool.partial_folder, options.max_voxels, unwanted)
        progress_bar = BuildProgress(len(found.scans), len(todo.kept), name)
        outcomes = run_supervised(
            prepare_scan,
            todo.pending,
            workers=min(options.workers, max(1, len(todo.pending))),
            seconds=options.seconds,
            initializer=start_worker,
            arguments=(job,),
        )
        try:
            with closing(outcomes):
                for outcome in outcomes:
                    sifter.take(outcome)
                    progress_bar.step(len(todo.kept) + len(sifter.added), len(sifter.skipped))
        finally:
            progress_bar.close()
            write_report(pool.folder, sifter.skipped)
        cases = pool.read_cases()
        seen = {*todo.kept, *sifter.added}
        result = BuildOutcome(
            planned=planned,
            folder=pool.folder,
            cases=cases,
            kept=todo.kept,
            added=sifter.added,
            skipped=sorted(sifter.skipped, key=lambda skipped: skipped.identifier),
            notes=notes,
            other_files=found.other_files,
            removed=sifter.removed,
            vanished=[case.identifier for case in vanished],
            sourceless=[case.identifier for case in cases if case.identifier not in seen and is_source_gone(case)],
            seconds=time.monotonic() - started,
            flags_of_use=options.flags_of_use,
        )
        pool.clear_partial()
        if result.cases:
            draw_pool(pool.folder / "pool.png", result)
    return result


def reader_endings(planned: PlannedConfiguration) -> frozenset[str]:
    """File endings, in lower case, that the plans' own reader knows."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    reader = PlansManager(dict(planned.plans)).image_reader_writer_class
    return frozenset(str(ending).lower() for ending in reader.supported_file_endings)


@contextmanager
def _locked(pool: Pool, planned: PlannedConfiguration) -> Iterator[None]:
    with _held(pool):
        if pool.pool_file.exists():
            pool.check_plans(planned)
        yield


def _held(pool: Pool) -> AbstractContextManager[None]:
    """Keep other processes from writing a pool."""
    refusal = SetupError(
        f"another process is writing pool {pool.name}",
        where=pool.folder / LOCK_FILE,
        mend="wait until it is done, or give another --name",
    )
    return locked_file(pool.folder / LOCK_FILE, refusal, "do not build one pool twice at once")


def _refuse_excluded(pool: Pool, there: Mapping[str, str], excluded: ExcludedScans) -> None:
    same = {name: why for name, key in sorted(there.items()) if (why := excluded.explain(key))}
    if same:
        first, why = next(iter(same.items()))
        raise SetupError(
            f"pool {pool.name} holds {len(same)} scan(s) already that are to be excluded; {first} has {why}",
            where=pool.folder,
            mend="build it under another --name, or delete the folder and build it again",
        )
