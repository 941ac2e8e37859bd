"""The scans that are probed: as many of every source, and which of them may test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.seeds import Stream, numpy_generator
from nnunet_genesis.pretraining.sources import qualified
from nnunet_genesis.probing.seen_scans import full_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.sources import Source
    from nnunet_genesis.probing.seen_scans import SeenScans

MINIMUM_TEST_SCANS = 2
"""Groups of a source that may test, at least (ours)."""


@dataclass(frozen=True, eq=False)
class ProbeScan:
    """One scan.

    Attributes:
        name: CASE of the dataset, or SOURCE/CASE.
        source: Number of its source.
        group: What it belongs to; a scan without a group is one of its own.
        may_test: Whether no pretraining learned from it, nor from another scan of its group.
        index: The cases that it is in.
        number: Its number there.
    """

    name: str
    source: int
    group: str
    may_test: bool
    index: CaseIndex
    number: int


def list_names(sources: Sequence[Source]) -> list[str]:
    """Names of all scans of all sources."""
    return [
        qualified(source.name, str(case))
        for source in sources
        for index in (source.train, source.validation)
        for case in index.identifiers
    ]


def list_probe_scans(
    sources: Sequence[Source], seen: Sequence[SeenScans], groups: Mapping[str, str], dataset: str
) -> list[ProbeScan]:
    """All scans of all sources, by name; which side a source has them on has no influence.

    Args:
        sources: What `open_sources` returned.
        seen: One per checkpoint.
        groups: Name of a scan to its group; those that are not in it are groups of their own.
        dataset: Name of the dataset whose plans are used.
    """
    places = [
        (qualified(source.name, str(case)), number, index, place)
        for number, source in enumerate(sources)
        for index in (source.train, source.validation)
        for place, case in enumerate(index.identifiers)
    ]
    learned = {
        groups.get(name, name)
        for name, _, index, place in places
        if any(one.learned_from(full_name(dataset, name), index, place) for one in seen)
    }
    # Also where the scan that was learned from is of a source that this probe does not look at.
    learned |= {group for name, group in groups.items() if any(full_name(dataset, name) in one.names for one in seen)}
    scans = [
        ProbeScan(name, number, groups.get(name, name), groups.get(name, name) not in learned, index, place)
        for name, number, index, place in places
    ]
    return sorted(scans, key=lambda scan: (scan.source, scan.name))


def choose_scans(scans: Sequence[ProbeScan], names: Sequence[str], most: int, seed: int) -> list[ProbeScan]:
    """Draw as many scans of every source: at least half of them such as may test, where there are so many.

    Args:
        scans: All scans.
        names: Of the sources.
        most: Scans per source at most.
        seed: Decides which.

    Raises:
        SetupError: If there are fewer than two sources, or a source has too few scans that may test.
    """
    if len(names) < 2:
        raise SetupError(
            f"a probe tells sources apart: there is one, {names[0] if names else 'none'}",
            mend="--sources with two or more of: labelled, pools, datasets",
        )
    by_source = [[scan for scan in scans if scan.source == number] for number in range(len(names))]
    for name, mine in zip(names, by_source, strict=True):
        testing = {scan.group for scan in mine if scan.may_test}
        if len(testing) < MINIMUM_TEST_SCANS:
            raise SetupError(
                f"source {name}: {len(testing)} of {len(mine)} scans can test a probe, needed are {MINIMUM_TEST_SCANS};"
                " the others, or scans of the same group, were learned from by a checkpoint",
                mend="pretrain with --exclude-fold or a larger --val-fraction, or add scans to the source",
            )
    count = min(most, *(len(mine) for mine in by_source))
    chosen = []
    for source, mine in enumerate(by_source):
        order = numpy_generator(seed, Stream.PROBE, source).permutation(len(mine)).tolist()
        able = [mine[one] for one in order if mine[one].may_test]
        others = [mine[one] for one in order if not mine[one].may_test]
        wanted = min(len(able), max(MINIMUM_TEST_SCANS, (count + 1) // 2, count - len(others)))
        chosen += able[:wanted] + others[: count - wanted]
    return sorted(chosen, key=lambda scan: (scan.source, scan.name))
