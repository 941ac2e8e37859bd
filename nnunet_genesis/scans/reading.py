"""Read one scan with the plans' own reader, and check that it can be used."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.scans.alignment import ALIGN, check_alignment
from nnunet_genesis.scans.checks import ReadingRules, check_header, check_image, check_spacing
from nnunet_genesis.scans.conversion import convert, is_known
from nnunet_genesis.scans.headers import read_header
from nnunet_genesis.scans.problems import Reason, ScanProblem, is_system_error
from nnunet_genesis.scans.quiet import quiet
from nnunet_genesis.scans.tiff import is_tiff_volume, name_for_reader, read_tiff_spacing, refuse_without_spacing

if TYPE_CHECKING:
    import numpy.typing as npt

    from nnunet_genesis.scans.scan import Scan

__all__ = ["ReadingRules", "read_scan"]

_LONGEST_TEXT = 500  # letters of what a reader says


def read_scan(
    scan: Scan, reader: Any, rules: ReadingRules, scratch: Path
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Read a scan as nnU-Net reads a labelled case.

    Formats that the plans' reader knows are read by it. Others are read by SimpleITK and handed to it in a temporary
    file, so that what the reader does to a labelled case (reorienting it, for example) is done to every scan.

    Args:
        scan: The files.
        reader: An instance of the plans' ``image_reader_writer_class``.
        rules: What the scan must be like.
        scratch: Existing folder for a temporary file, needed for formats that the reader does not know.

    Returns:
        Image (channels, z, y, x) float32, and the properties that the reader gives, with ``spacing`` (z, y, x) in mm.

    Raises:
        ScanProblem: If the scan cannot be read or used, with the reason.
    """
    where = scan.channels[0][0]
    temporary = Path(tempfile.mkdtemp(prefix="reading.", dir=scratch))
    printed = ""
    try:
        with quiet() as chatter:
            try:
                image, properties = _read(scan, reader, rules, temporary)
            except ScanProblem:
                raise
            except MemoryError as error:
                raise ScanProblem(
                    Reason.TOO_LARGE,
                    "it does not fit into memory",
                    where=where,
                    mend="a lower -np or --max-voxels",
                    is_passing=True,
                ) from error
            except Exception as error:  # readers raise whatever they happen to stumble over
                printed = chatter.getvalue()
                raise ScanProblem(
                    Reason.UNREADABLE, _describe(error, printed), where=where, is_passing=is_system_error(error)
                ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    spacing = [float(step) for step in properties["spacing"]]
    check_image(image, rules, where)
    check_spacing(image.shape[1:], spacing, rules, where)
    return image, properties


def _read(
    scan: Scan, reader: Any, rules: ReadingRules, temporary: Path
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    sizes: list[tuple[int, ...]] = []
    spacings: list[tuple[float, ...]] = []
    tiff_spacings: list[tuple[float, ...] | None] = []
    for channel in scan.channels:
        header = read_header(channel, rules.max_voxels)
        tiff_spacings.append(read_tiff_spacing(channel[0]) if is_tiff_volume(channel, reader) else None)
        if header is not None:
            header = replace(header, spacing=(tiff_spacings[-1] or header.spacing[::-1])[::-1])
            check_header(header, len(scan.channels), rules, channel[0])
            sizes.append(header.size)
            spacings.append(header.spacing)
    where = scan.channels[0][0]
    if len(set(sizes)) > 1:
        told = ", ".join(" x ".join(map(str, size)) for size in sizes)
        raise ScanProblem(Reason.CHANNELS, f"the channels differ in size: {told}", where=where, mend=ALIGN)
    known = [spacing for spacing in spacings if spacing]
    if not all(np.allclose(spacing, known[0]) for spacing in known):
        told = ", ".join(" x ".join(f"{step:.6g}" for step in spacing) for spacing in known)
        raise ScanProblem(Reason.CHANNELS, f"the channels differ in spacing: {told} mm", where=where, mend=ALIGN)
    if len(scan.channels) not in {1, rules.num_channels}:
        raise ScanProblem(
            Reason.CHANNELS,
            f"{len(scan.channels)} channels, {rules.num_channels} expected",
            where=where,
        )
    check_alignment(scan.channels, reoriented=type(reader).__name__.endswith("WithReorient"))
    if is_tiff_volume(scan.channels[0], reader) and tiff_spacings[0] is None:
        refuse_without_spacing(where, rules.spacing)
    endings = list(reader.supported_file_endings)
    files = []
    for number, channel in enumerate(scan.channels):
        if is_tiff_volume(channel, reader):
            files.append(name_for_reader(channel[0], tiff_spacings[number], temporary, number))
        else:
            files.append(channel[0] if is_known(channel, endings) else convert(channel, endings, temporary, number))
    image, properties = reader.read_images(files)
    return np.asarray(image, dtype=np.float32), properties


def _describe(error: Exception, printed: str) -> str:
    """What a reader says went wrong; some of nnU-Net's print it and raise an error without words."""
    lines = [line.strip() for line in (str(error) or printed).splitlines() if line.strip()]
    # SimpleITK begins with the place in its own source; ITK names objects by their address, another one in every run.
    told = [line for line in lines if not line.startswith("Exception thrown in SimpleITK")] or lines
    if told and told[0].endswith(":") and len(told) > 1:
        told[0] += f" {told[-1]}"  # "Error reading FILE:", then what failed from the outside to the inside
    text = re.sub("[(]0x[0-9a-f]+[)]", "", told[0]).rstrip(":") if told else ""
    return f"{type(error).__name__}: {text[:_LONGEST_TEXT]}" if text else type(error).__name__
