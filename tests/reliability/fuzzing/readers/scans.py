"""Raw scans in every format, as pools and the raw images of a dataset are read."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_genesis.raw_scan_keys import _read_key
from nnunet_genesis.scans.finding import find_scans
from nnunet_genesis.scans.reading import read_scan
from tests.reliability.fuzzing.mutations import mutate_bytes
from tests.reliability.fuzzing.reader import Reader
from tests.scans.files import RULES, voxels, write_dicom_series, write_frames, write_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random

_SHAPE = (4, 20, 18)


def _make_with(name: str) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        if name == "series":
            return write_dicom_series(folder / "scans" / "series", voxels(_SHAPE))[:2]
        if name == "frames.dcm":
            (folder / "scans").mkdir()
            return [write_frames(folder / "scans" / name, voxels(_SHAPE).astype("uint16"))]
        return [write_image(folder / "scans" / name, voxels(_SHAPE))]

    return make


def _read(folder: Path, _: Path) -> None:
    """As a worker of `genesis preprocess-unlabeled` does, without what follows."""
    found = find_scans([folder / "scans"], num_channels=1)
    for scan in found.scans:
        scan.signature()
        read_scan(scan, SimpleITKIO(), RULES, folder)


def _read_raw(_: Path, file: Path) -> None:
    """As the raw images of a dataset are compared with others."""
    _read_key(SimpleITKIO(), [file])


def _mutate_packed(content: bytes, random: Random) -> bytes:
    """Bytes of the stream, or of what is packed in it."""
    if random.random() < 0.3:
        return mutate_bytes(content, random)
    return gzip.compress(mutate_bytes(gzip.decompress(content), random), 1)


def _bombs(_: Path) -> Sequence[bytes]:
    good = gzip.compress(b"\0" * 100)
    return (gzip.compress(b"\0" * (1 << 28), 9), good * 1000, good[:-3], b"\x1f\x8b" + b"\0" * 100)


def _texts(_: Path) -> Sequence[bytes]:
    """Headers that name other files, devices and sizes."""
    mhd = (
        b"ObjectType = Image\nNDims = 3\nDimSize = %s\nElementType = MET_SHORT\nElementSpacing = 1 1 1\n"
        b"ElementDataFile = %s\n"
    )
    nrrd = b"NRRD0004\ntype: short\ndimension: 3\nsizes: %s\nencoding: %s\nspacings: 1 1 1\ndata file: %s\n\n"
    sizes, places = (b"18 20 4", b"2000000 2000000 2000000"), (b"/dev/zero", b"../../outside", b"/etc/passwd", b"LIST")
    return tuple(mhd % (size, place) for size in sizes for place in places) + tuple(
        nrrd % (size, encoding, place) for size in sizes for encoding in (b"raw", b"gzip") for place in places[:2]
    )


_FORMATS = {
    "nifti": "scan.nii", "packed_nifti": "scan.nii.gz", "nrrd": "scan.nrrd", "nhdr": "scan.nhdr", "mha": "scan.mha",
    "mhd": "scan.mhd", "dicom_series": "series", "dicom_frames": "frames.dcm",
}  # fmt: skip
SCANS = (
    *(
        Reader(
            name,
            _make_with(file),
            _read,
            _mutate_packed if name == "packed_nifti" else mutate_bytes,
            _bombs if name == "packed_nifti" else _texts if name in ("nhdr", "mhd") else lambda _: (),
            in_worker=True,
        )
        for name, file in _FORMATS.items()
    ),
    Reader("raw_nifti", _make_with("scan.nii.gz"), _read_raw, _mutate_packed, _bombs),
    Reader("raw_nrrd", _make_with("scan.nrrd"), _read_raw, mutate_bytes),
    Reader("raw_mha", _make_with("scan.mha"), _read_raw, mutate_bytes),
)
