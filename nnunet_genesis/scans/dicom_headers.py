"""Headers of DICOM files, read without their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

DICOM_ENDINGS = (".dcm", ".ima", ".dicom")

_TAGS = (
    "SOPClassUID", "SeriesInstanceUID", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient",
    "NumberOfFrames", "SpacingBetweenSlices", "FrameIncrementPointer", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_SLICE_VECTOR = 0x00540080


@dataclass(frozen=True)
class SliceHeader:
    """Where one DICOM file belongs.

    Attributes:
        path: The file.
        series: SeriesInstanceUID.
        rows: Number of rows.
        columns: Number of columns.
        orientation: Six direction cosines, rounded so that slices of one stack agree; None if the file has none.
        position: Position of the first voxel in mm; None if the file has none.
        frames: Number of frames in the file.
        frame_positions: One position per frame, where the file gives them.
        frame_orientations: The different orientations of the frames, rounded, where the file gives them.
        frames_are_slices: Whether the file says that its frames are slices, without giving each a position.
    """

    path: str
    series: str
    rows: int
    columns: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    frames: int = 1
    frame_positions: tuple[tuple[float, ...], ...] = ()
    frame_orientations: tuple[tuple[float, ...], ...] = ()
    frames_are_slices: bool = False


def has_dicom_mark(path: str) -> bool:
    """Whether the file has the letters DICM after its preamble."""
    with Path(path).open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_slice_header(path: str) -> SliceHeader | None:
    """Read what decides the series and the place of a DICOM file; None if it is no image (a report, a plan, ...).

    pydicom may warn; who calls this switches warnings off.

    Raises:
        ValueError: If the file is damaged or no DICOM file at all.
        Exception: Whatever pydicom stumbles over in damaged files.
    """
    import pydicom

    if Path(path).stat().st_size == 0:
        raise ValueError("the file is empty")
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=not has_dicom_mark(path))
    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    if "Rows" not in header or "Columns" not in header:
        if kind is None or "Image Storage" in getattr(kind, "name", ""):
            raise ValueError("no DICOM image: the header is cut off or missing")
        return None
    frames = int(header.get("NumberOfFrames") or 1)
    positions, orientations = _read_frames(header)
    return SliceHeader(
        path=path,
        series=str(header.get("SeriesInstanceUID", "")),
        rows=int(header.Rows),
        columns=int(header.Columns),
        orientation=_numbers(header.get("ImageOrientationPatient"), 6, digits=3),
        position=_numbers(header.get("ImagePositionPatient"), 3),
        frames=frames,
        frame_positions=positions,
        frame_orientations=orientations,
        frames_are_slices="SpacingBetweenSlices" in header or header.get("FrameIncrementPointer") == _SLICE_VECTOR,
    )


def _read_frames(header: Any) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """Positions of all frames (empty if one has none) and the different orientations among them."""
    frames = list(header.get("PerFrameFunctionalGroupsSequence") or ())
    shared = list(header.get("SharedFunctionalGroupsSequence") or ())
    positions = [_from_group(frame, "PlanePositionSequence", "ImagePositionPatient", 3) for frame in frames]
    orientations = {
        _from_group(group, "PlaneOrientationSequence", "ImageOrientationPatient", 6, digits=3)
        for group in (*shared, *frames)
    }
    complete = tuple(position for position in positions if position is not None)
    return (
        complete if len(complete) == len(frames) else (),
        tuple(sorted(orientation for orientation in orientations if orientation is not None)),
    )


def _from_group(group: Any, sequence: str, value: str, length: int, digits: int = 6) -> tuple[float, ...] | None:
    items = group.get(sequence)
    return _numbers(items[0].get(value), length, digits) if items else None


def _numbers(value: Any, length: int, digits: int = 6) -> tuple[float, ...] | None:
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != length:
        return None
    return tuple(round(float(number), digits) + 0.0 for number in value)
