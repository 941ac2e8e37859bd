"""What becomes of every scan that was read: into the pool, or into the report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.pretraining.unlabeled.supervised import WorkerCrashed, WorkerTimedOut
from nnunet_genesis.scans.finding import SkippedScan
from nnunet_genesis.scans.problems import Reason, ScanProblem, is_system_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnunet_genesis.pretraining.unlabeled.case_preprocessing import PreparedScan
    from nnunet_genesis.pretraining.unlabeled.excluded_scans import ExcludedScans
    from nnunet_genesis.pretraining.unlabeled.pool import Pool, PoolCase
    from nnunet_genesis.pretraining.unlabeled.supervised import Outcome
    from nnunet_genesis.scans.scan import Scan


class Sifter:
    """Takes scans one after the other; of equal ones the first stays.

    Args:
        pool: Where usable scans go.
        cases: Cases of the pool, whole ones only.
        redone: Names of those that are made again: their old images go where that fails.
        excluded: Scans that must not be in it.
        skipped: Scans that were left out before.
    """

    def __init__(
        self,
        pool: Pool,
        cases: Sequence[PoolCase],
        redone: Iterable[str],
        excluded: ExcludedScans,
        skipped: Iterable[SkippedScan],
    ) -> None:
        self.pool, self.excluded = pool, excluded
        names = frozenset(redone)
        self.outdated = {case.identifier: case for case in cases if case.identifier in names}
        self.known = {case.scan: case.identifier for case in cases if case.identifier not in self.outdated}
        self.skipped = list(skipped)
        self.added: list[str] = []
        self.removed: list[SkippedScan] = []

    def take(self, outcome: Outcome[Scan, PreparedScan]) -> None:
        """Take one scan.

        Raises:
            SetupError: If the pool cannot be written.
        """
        scan, prepared = outcome.item, outcome.value
        if prepared is None:
            self._leave_out(scan, _explain(outcome.error))
        elif same := self.excluded.explain(prepared.key):
            self._leave_out(scan, ScanProblem(Reason.EXCLUDED, same))
        elif prepared.key in self.known:
            same = f"the same voxels as case {self.known[prepared.key]} of this pool"
            self._leave_out(scan, ScanProblem(Reason.DUPLICATE, same))
            if prepared.image is not None:
                prepared.image.unlink()
        elif prepared.image is not None and prepared.case is not None:
            self.pool.add(prepared.image, prepared.case)
            self.known[prepared.key] = scan.identifier
            self.added.append(scan.identifier)

    def remove(self, case: PoolCase, why: SkippedScan) -> None:
        """Remove a case of the pool that its source files do not make any more."""
        self.pool.remove(case, f"{why.reason}: {why.detail}")
        if self.known.get(case.scan) == case.identifier:
            del self.known[case.scan]
        self.removed.append(replace(why, identifier=case.identifier))

    def _leave_out(self, scan: Scan, problem: ScanProblem) -> None:
        skipped = SkippedScan.of(problem, scan.identifier, "; ".join(scan.sources()))
        self.skipped.append(skipped)
        outdated = self.outdated.pop(scan.identifier, None)
        if outdated is None:
            return
        if not problem.is_passing:
            self.remove(outdated, skipped)
        elif outdated.scan in self.known:
            same = f"the same voxels as case {self.known[outdated.scan]} of this pool"
            self.remove(outdated, replace(skipped, reason=Reason.DUPLICATE, detail=same))
        else:  # it stays until a run can read what its files hold now
            self.known[outdated.scan] = outdated.identifier


def _explain(error: Exception | None) -> ScanProblem:
    if isinstance(error, SetupError):
        raise error  # the disk is full, or the plans are broken: nothing to do with this scan
    if isinstance(error, ScanProblem):
        return error
    if isinstance(error, WorkerTimedOut):
        mend = "a longer --timeout, if the scan is only large"
        return ScanProblem(Reason.TIMED_OUT, error.problem, mend=mend, is_passing=True)
    if isinstance(error, WorkerCrashed):
        return ScanProblem(Reason.CRASHED, error.problem, mend="a lower -np, if memory was short", is_passing=True)
    if isinstance(error, GenesisError):
        return ScanProblem(Reason.UNREADABLE, error.problem, mend=error.mend)
    return ScanProblem(Reason.UNREADABLE, f"{type(error).__name__}: {error}", is_passing=is_system_error(error))
