"""What becomes of every scan that was read: into the pool, or into the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.pretraining.unlabeled.supervised import WorkerCrashed, WorkerTimedOut
from nnunet_genesis.scans.finding import SkippedScan
from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nnunet_genesis.pretraining.unlabeled.case_preprocessing import PreparedScan
    from nnunet_genesis.pretraining.unlabeled.pool import Pool
    from nnunet_genesis.pretraining.unlabeled.supervised import Outcome
    from nnunet_genesis.scans.scan import Scan


class Sifter:
    """Takes scans one after the other; of equal ones the first stays.

    Args:
        pool: Where usable scans go.
        known: Keys of scans that are in the pool, and their names.
        excluded: Keys of scans that must not be in it, and a few words on what each is.
        skipped: Scans that were left out before.
    """

    def __init__(
        self, pool: Pool, known: Mapping[str, str], excluded: Mapping[str, str], skipped: Iterable[SkippedScan]
    ) -> None:
        self.pool, self.excluded = pool, excluded
        self.known = dict(known)
        self.skipped = list(skipped)
        self.added: list[str] = []

    def take(self, outcome: Outcome[Scan, PreparedScan]) -> None:
        """Take one scan.

        Raises:
            SetupError: If the pool cannot be written.
        """
        scan, prepared = outcome.item, outcome.value
        if prepared is None:
            self._leave_out(scan, *_explain(outcome.error))
        elif prepared.key in self.excluded:
            self._leave_out(scan, Reason.EXCLUDED, f"the same voxels as {self.excluded[prepared.key]}")
        elif prepared.key in self.known:
            self._leave_out(scan, Reason.DUPLICATE, f"the same voxels as case {self.known[prepared.key]} of this pool")
            if prepared.image is not None:
                prepared.image.unlink()
        elif prepared.image is not None and prepared.case is not None:
            self.pool.add(prepared.image, prepared.case)
            self.known[prepared.key] = scan.identifier
            self.added.append(scan.identifier)

    def _leave_out(self, scan: Scan, reason: Reason, detail: str) -> None:
        self.skipped.append(SkippedScan(scan.identifier, "; ".join(scan.sources()), reason, detail))


def _explain(error: Exception | None) -> tuple[Reason, str]:
    if isinstance(error, SetupError):
        raise error  # the disk is full, or the plans are broken: nothing to do with this scan
    if isinstance(error, ScanProblem):
        return error.reason, error.problem
    if isinstance(error, WorkerTimedOut):
        return Reason.TIMED_OUT, error.problem
    if isinstance(error, WorkerCrashed):
        return Reason.CRASHED, error.problem
    if isinstance(error, GenesisError):
        return Reason.UNREADABLE, error.problem
    return Reason.UNREADABLE, f"{type(error).__name__}: {error}"
