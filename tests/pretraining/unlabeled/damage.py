"""Scans damaged at random, the same for the same seed."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np

from tests.pretraining.unlabeled.planned import draw_scan, write_scan
from tests.scans.files import write_dicom_series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha", "dicom")
_SHAPE = (5, 16, 14)


def truncate(content: bytearray, generator: np.random.Generator) -> bytearray:
    return content[: generator.integers(0, len(content))]


def flip_bits(content: bytearray, generator: np.random.Generator) -> bytearray:
    for place in generator.integers(0, len(content), generator.integers(1, 30)):
        content[place] ^= 1 << int(generator.integers(0, 8))
    return content


def overwrite_header(content: bytearray, generator: np.random.Generator) -> bytearray:
    start = int(generator.integers(0, min(400, len(content))))
    length = int(generator.integers(1, 64))
    content[start : start + length] = generator.bytes(length)
    return content


def splice(content: bytearray, generator: np.random.Generator) -> bytearray:
    first, second = sorted(generator.integers(0, len(content), 2).tolist())
    return content[:second] + content[first:]


def cut_out(content: bytearray, generator: np.random.Generator) -> bytearray:
    first, second = sorted(generator.integers(0, len(content), 2).tolist())
    return content[:first] + content[second:]


DAMAGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    truncate, flip_bits, overwrite_header, splice, cut_out
)  # fmt: skip


def write_damaged_scan(folder: Path, seed: int) -> Path:
    """Write a scan into a new folder of its own and damage it; of a DICOM series, one slice."""
    generator = np.random.default_rng(seed)
    ending = FORMATS[seed % len(FORMATS)]
    damage = DAMAGES[seed // len(FORMATS) % len(DAMAGES)]
    own = folder / f"scan{seed:04d}"
    scan = np.round(draw_scan(seed, _SHAPE)).astype(np.int16)
    if ending == "dicom":
        files = write_dicom_series(own, scan)
        file = files[int(generator.integers(0, len(files)))]
    else:
        file = write_scan(own / f"image{ending}", scan)
    content = bytearray(file.read_bytes())
    if ending == ".nii.gz" and generator.random() < 0.5:
        # Damage below the compression, which its checksum does not see.
        content = bytearray(gzip.compress(bytes(damage(bytearray(gzip.decompress(content)), generator))))
    else:
        content = damage(content, generator)
    file.write_bytes(content)
    return own
