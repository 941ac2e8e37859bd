"""The scans among the files of one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.scans.candidates import Candidate, unreadable
from nnunet_genesis.scans.channels import group_channels
from nnunet_genesis.scans.dicom import find_series
from nnunet_genesis.scans.dicom_headers import DICOM_ENDINGS, has_dicom_mark
from nnunet_genesis.scans.naming import Place
from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_ENDINGS = frozenset({".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"})

# Never DICOM, so not opened to find out; names of DICOM files often end in a number of their identifier.
_OTHER_ENDINGS = (
    ".json", ".csv", ".tsv", ".txt", ".md", ".xml", ".html", ".pdf", ".py", ".log", ".zip", ".gz", ".bval", ".bvec",
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".npy", ".npz", ".pkl", ".b2nd", ".pth", ".raw", ".zraw",
)  # fmt: skip


def is_image(path: Path, endings: frozenset[str]) -> bool:
    """Whether a file looks like an image, by its ending or by the mark of DICOM."""
    if find_ending(path.name, endings) is not None or path.name.lower().endswith(DICOM_ENDINGS):
        return True
    return path.is_file() and has_dicom_mark(str(path))


def find_ending(name: str, endings: frozenset[str]) -> str | None:
    """The ending of an image file as it is spelt, the longest one that fits; None for other files."""
    fitting = [ending for ending in IMAGE_ENDINGS | endings if name.lower().endswith(ending)]
    return name[-max(map(len, fitting)) :] if fitting else None


def find_in_folder(
    folder: Path,
    names: list[str],
    parts: tuple[str, ...],
    num_channels: int,
    endings: frozenset[str],
    *,
    channels_apart: bool = False,
) -> tuple[list[Candidate], list[str], int]:
    """Sort the files of a folder into scans.

    Args:
        folder: Absolute path.
        names: Names of its files.
        parts: Path of the folder relative to the input, for the identifiers.
        num_channels: Number of channels expected.
        endings: Endings of images beside `IMAGE_ENDINGS`.
        channels_apart: Whether every channel is a scan of its own.

    Returns:
        Candidates, notes, and the number of other files.
    """
    images: list[tuple[str, str]] = []
    slices: list[str] = []
    candidates: list[Candidate] = []
    lost_slices: list[Candidate] = []
    other_files = 0
    for name in names:
        path = folder / name
        ending = find_ending(name, endings)
        try:
            looks_like_dicom = ending is None and _looks_like_dicom(path)
            if ending is None and not looks_like_dicom:
                other_files += 1
            elif not path.is_file():
                kind = "a link to nothing" if path.is_symlink() else "no regular file"
                raise ScanProblem(Reason.UNREADABLE, kind, where=path)
            elif looks_like_dicom:
                slices.append(str(path))
            elif ending is not None:
                images.append((str(path), ending))
        except ScanProblem as problem:
            candidates.append(Candidate(Place((*parts, name), str(path)), str(path), problem=problem))
        except OSError as error:
            candidates.append(unreadable(Place((*parts, name), str(path)), str(path), error))
            lost_slices += candidates[-1:] if ending is None else []
    grouped, notes = group_channels(images, parts, num_channels, apart=channels_apart)
    series, not_images = find_series(slices, parts or (folder.name,), lost_slices)
    if num_channels > 1:
        series = [_refuse_single_channel(candidate, num_channels) for candidate in series]
    return candidates + grouped + series, notes, other_files + not_images


def _looks_like_dicom(path: Path) -> bool:
    name = path.name.lower()
    if name.endswith(DICOM_ENDINGS):
        return True
    return not name.endswith(_OTHER_ENDINGS) and path.is_file() and has_dicom_mark(str(path))


def _refuse_single_channel(candidate: Candidate, num_channels: int) -> Candidate:
    if candidate.problem is not None:
        return candidate
    problem = ScanProblem(
        Reason.CHANNELS,
        f"{num_channels} channels expected, a DICOM series is one",
        where=candidate.source,
        mend="name the series of each channel in a table (.csv with case,channel,path)",
    )
    return Candidate(candidate.place, candidate.source, problem=problem, series=candidate.series)
