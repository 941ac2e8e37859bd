"""Find scans in folders, files and tables."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.scans.dicom import note_split_series
from nnunet_genesis.scans.folder import find_in_folder, is_image
from nnunet_genesis.scans.naming import name_scans
from nnunet_genesis.scans.scan import Scan
from nnunet_genesis.scans.table import read_table
from nnunet_genesis.scans.walking import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnunet_genesis.scans.candidates import Candidate
    from nnunet_genesis.scans.problems import Reason, ScanProblem

TABLE_ENDINGS = (".csv", ".json")


@dataclass(frozen=True)
class SkippedScan:
    """A scan that was found but cannot be used.

    Attributes:
        identifier: Name that the scan would have had.
        source: File or folder.
        reason: The kind of problem.
        detail: What is wrong, with the offending value.
        mend: What mends it; empty where nothing is known.
        is_passing: Whether nothing is known of the scan itself, see `ScanProblem`.
    """

    identifier: str
    source: str
    reason: Reason
    detail: str
    mend: str = ""
    is_passing: bool = False

    @classmethod
    def of(cls, problem: ScanProblem, identifier: str, source: str) -> SkippedScan:
        """A scan that is skipped because of a problem."""
        return cls(identifier, source, problem.reason, problem.problem, problem.mend or "", problem.is_passing)


@dataclass(frozen=True)
class FoundScans:
    """What was found.

    Attributes:
        scans: Usable scans, sorted by identifier.
        skipped: Scans with a problem that shows without reading voxels, sorted by identifier.
        notes: Sentences on what was left out on purpose.
        other_files: Number of files that are no images.
    """

    scans: list[Scan]
    skipped: list[SkippedScan] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    other_files: int = 0


def find_scans(
    inputs: Sequence[Path],
    *,
    num_channels: int,
    endings: frozenset[str] = frozenset(),
    channel_names: Sequence[str] = (),
    channels_apart: bool = False,
    progress: Callable[[int], None] | None = None,
) -> FoundScans:
    """Find scans in folders, single files and tables (.csv, .json).

    Voxels are not read. Links are followed, each folder is entered once, hidden files and folders are left out. Files
    of one folder named as nnU-Net does (``case_0000.nii.gz``, ``case_0001.nii.gz``, ...) are the channels of one scan;
    any other image file is a scan, perhaps with several channels. Of nnU-Net's raw datasets only imagesTr is taken.

    Args:
        inputs: Folders (searched with all folders below), files and tables, in any mixture.
        num_channels: Number of channels of the plans.
        endings: File endings, with dot, that the plans' own reader supports beside the known ones.
        channel_names: Names of the channels in their order, which tables may use instead of numbers.
        channels_apart: Whether every channel is a scan of its own, ``case_0000``, ``case_0001``, ...
        progress: Called after each folder with the number of files looked at so far.

    Raises:
        SetupError: If an input does not exist or is no image, or if a table is malformed.
    """
    endings = frozenset(ending.lower() for ending in endings)
    candidates: list[Candidate] = []
    walk = Walk()
    looked_at = other_files = 0
    places = [*map(_absolute, inputs)]
    # Folders are entered once: only files that are named themselves may come up again, in the folders that they are in.
    beside = {path.parent for path in places if not path.is_dir()}
    seen: set[str] = set()
    single_files: dict[Path, list[str]] = defaultdict(list)

    def look(folder: Path, names: list[str], parts: tuple[str, ...]) -> None:
        nonlocal looked_at, other_files
        new = [name for name in names if str(folder / name) not in seen]
        if folder in beside:
            seen.update(str(folder / name) for name in new)
        found, notes, others = find_in_folder(folder, new, parts, num_channels, endings, channels_apart=channels_apart)
        candidates.extend(found)
        walk.notes.extend(notes)
        other_files += others
        looked_at += len(new)
        if progress is not None:
            progress(looked_at)

    for path in places:
        if path.is_dir():
            for folder, parts, names in walk.folders(path):
                look(folder, names, parts)
        elif path.suffix.lower() in TABLE_ENDINGS:
            candidates += read_table(path, num_channels, channel_names, apart=channels_apart)
        elif is_image(path, endings):
            single_files[path.parent].append(path.name)
        else:
            known = "a folder, an image (NIfTI, NRRD, MHA, MHD, DICOM) or a table (.csv, .json)"
            raise SetupError(f"this is no image: {path.name}", where=path, mend=f"name {known}")
    for folder, names in single_files.items():
        look(folder, sorted({*names}), ())
    if walk.hidden:
        walk.notes.append(f"{walk.hidden} hidden files and folders (names that start with a dot) are left out")
    walk.notes += note_split_series(candidates)
    scans, skipped = _name(candidates + walk.problems)
    return FoundScans(scans, skipped, walk.notes, other_files)


def _absolute(path: Path) -> Path:
    # Unlike Path.resolve, links keep the names that the user gave them.
    absolute = Path(os.path.abspath(path))  # noqa: PTH100
    if not absolute.exists():
        raise SetupError(f"there is no file or folder {path}", where=absolute, mend="correct the path given with -i")
    return absolute


def _name(candidates: list[Candidate]) -> tuple[list[Scan], list[SkippedScan]]:
    scans = []
    skipped = []
    names = name_scans([candidate.place for candidate in candidates])
    for name, candidate in sorted(zip(names, candidates, strict=True), key=lambda pair: pair[0]):
        problem = candidate.problem
        if problem is None:
            scans.append(Scan(name, candidate.channels))
        else:
            skipped.append(SkippedScan.of(problem, name, candidate.source))
    return scans, skipped
