"""DICOM series in a folder: which files make one volume, in which order, and what is wrong with it."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.scans.candidates import Candidate, unreadable
from nnunet_genesis.scans.dicom_headers import DICOM_ENDINGS, SliceHeader, read_slice_header
from nnunet_genesis.scans.naming import Place
from nnunet_genesis.scans.problems import Reason, ScanProblem, is_system_error
from nnunet_genesis.scans.slices import order_slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_READERS = 8  # files whose headers are read at a time


def find_series(
    files: Iterable[str], parts: tuple[str, ...], lost: Sequence[Candidate] = ()
) -> tuple[list[Candidate], int]:
    """The series among the DICOM files of one folder.

    Files belong together if they share series, size and orientation. A file that is alone, or that holds several
    frames, is a candidate of its own. Where the system cannot read one of them, no series is known to be whole.

    Args:
        files: Absolute paths of files of one folder.
        parts: Name of the folder in parts, for the identifiers.
        lost: Other files of the folder that may be slices, and that the system cannot read.

    Returns:
        Candidates with one channel, and the number of files that are no images.
    """
    series: dict[tuple[object, ...], list[SliceHeader]] = defaultdict(list)
    candidates: list[Candidate] = []
    lost = [*lost]
    other_files = 0
    for path, header in _read_headers(sorted(files)):
        if isinstance(header, Exception):
            candidates.append(unreadable(_place_of_file(path, parts), path, header))
            lost += candidates[-1:] if is_system_error(header) else []
        elif header is None:
            other_files += 1
        elif header.frames > 1:
            candidates.append(_judge_frames(header, parts))
        else:
            series[(header.series, header.rows, header.columns, header.orientation)].append(header)
    stacks = {key: slices for key, slices in series.items() if len(slices) > 1}
    for key, slices in series.items():
        if len(slices) == 1:
            path = slices[0].path
            candidates.append(
                Candidate(_place_of_file(path, parts), path, ((path,),), series=_mark(key) if key[0] else "")
            )
            continue
        mark = _mark(key)
        folder = str(Path(slices[0].path).parent)
        name = parts if len(stacks) == 1 else (*parts, f"series-{mark[:8]}")
        candidate = _judge_stack(slices, Place(name, f"{folder}\n{mark}"), folder, lost)
        candidates.append(replace(candidate, series=mark if key[0] else ""))
    return candidates, other_files


def note_split_series(candidates: Iterable[Candidate]) -> list[str]:
    """Say which folders hold slices of the same series: parts of one volume, or copies."""
    folders: dict[str, set[str]] = defaultdict(set)
    for candidate in candidates:
        if candidate.series:
            file = candidate.channels[0][0] if candidate.channels else None
            folders[candidate.series].add(str(Path(file).parent) if file else candidate.source)
    split = [sorted(places) for places in folders.values() if len(places) > 1]
    if not split:
        return []
    return [
        f"{len(split)} DICOM series lie in several folders each, e.g. in {' and '.join(split[0][:2])}: every folder is"
        " taken as a scan of its own; where they are parts of one volume, put them into one folder"
    ]


def _read_headers(files: list[str]) -> list[tuple[str, SliceHeader | Exception | None]]:
    """Headers in the order of the files, read side by side: most of the time goes into waiting for a file server."""

    def read(path: str) -> SliceHeader | Exception | None:
        try:
            return read_slice_header(path)
        except Exception as error:  # pydicom raises whatever it happens to stumble over in damaged files
            return error

    if not files:
        return []
    # Not in the threads: warnings are switched off for the whole process.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(_READERS, len(files))) as threads:
        warnings.simplefilter("ignore")
        return list(zip(files, threads.map(read, files), strict=True))


def _mark(key: tuple[object, ...]) -> str:
    """The same for equal series, size and orientation."""
    return hashlib.sha256(repr(key).encode()).hexdigest()


def _judge_stack(slices: list[SliceHeader], place: Place, folder: str, lost: Sequence[Candidate]) -> Candidate:
    source = f"{folder} ({len(slices)} slices)"
    positions = [header.position for header in slices if header.position is not None]
    orientation = slices[0].orientation
    try:
        if lost:
            raise ScanProblem(
                Reason.UNREADABLE,
                f"{len(lost)} file(s) of its folder that may be slices cannot be read, e.g. {lost[0].source}",
                where=source,
                mend="make them readable, or move them out of the folder if they are no slices",
                is_passing=True,
            )
        if orientation is None or not positions:
            raise ScanProblem(Reason.UNREADABLE, "no slice positions", where=source)
        if len(positions) < len(slices):
            missing = len(slices) - len(positions)
            raise ScanProblem(
                Reason.UNREADABLE, f"no slice positions in {missing} of {len(slices)} slices", where=source
            )
        order = order_slices(positions, orientation, source)
    except ScanProblem as problem:
        return Candidate(place, source, problem=problem)
    return Candidate(place, source, (tuple(slices[index].path for index in order),))


def _judge_frames(header: SliceHeader, parts: tuple[str, ...]) -> Candidate:
    place = _place_of_file(header.path, parts)
    try:
        _check_frames(header)
    except ScanProblem as problem:
        return Candidate(place, header.path, problem=problem)
    return Candidate(place, header.path, ((header.path,),))


def _check_frames(header: SliceHeader) -> None:
    """Refuse files whose frames are no volume, as far as the header tells; readers take frames as they are stored."""
    if len(header.frame_orientations) > 1:
        raise ScanProblem(
            Reason.DIMENSIONS,
            f"{header.frames} frames in {len(header.frame_orientations)} orientations",
            where=header.path,
            mend="convert each orientation to NIfTI",
        )
    orientation = header.frame_orientations[0] if header.frame_orientations else header.orientation
    if len(header.frame_positions) != header.frames or orientation is None:
        if not header.frames_are_slices:
            raise ScanProblem(
                Reason.DIMENSIONS, f"{header.frames} frames without positions: a film?", where=header.path
            )
        return
    order = order_slices(header.frame_positions, orientation, header.path)
    if not (np.diff(order) == 1).all() and not (np.diff(order) == -1).all():
        raise ScanProblem(
            Reason.UNEVEN_SLICES,
            "the frames are not stored in the order of their positions",
            where=header.path,
            mend="convert it to NIfTI with a tool that sorts frames",
        )


def _place_of_file(path: str, parts: tuple[str, ...]) -> Place:
    name = Path(path).name
    for ending in DICOM_ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return Place((*parts, name), path)
