"""TIFF volumes: their spacing lies in a JSON file beside them, and nnU-Net's reader finds it only by nnU-Net's names.

It cuts a channel's number off the name, whether there is one or not, and takes 1 x 1 x 1 mm where no such file is.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.json_reading import read_json
from nnunet_genesis.scans.problems import Reason, ScanProblem, is_system_error

if TYPE_CHECKING:
    from collections.abc import Sequence

TIFF_ENDINGS = (".tif", ".tiff")


def is_tiff_volume(files: Sequence[str], reader: Any) -> bool:
    """Whether a channel is read by nnU-Net's reader of TIFF volumes."""
    from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

    return len(files) == 1 and files[0].lower().endswith(TIFF_ENDINGS) and isinstance(reader, Tiff3DIO)


def spacing_files(path: str) -> list[str]:
    """The file with the spacing of a TIFF volume: without the number of its channel, or of its own name; at most one.

    Raises:
        OSError: If the system cannot tell.
    """
    file = Path(path)
    if not path.lower().endswith(TIFF_ENDINGS):
        return []
    names = (re.sub(r"_\d{4}$", "", file.stem), file.stem)
    there = [str(beside) for name in names if (beside := file.with_name(f"{name}.json")).is_file()]
    return there[:1]


def read_tiff_spacing(path: str) -> tuple[float, ...] | None:
    """Spacing of a TIFF volume in mm (z, y, x); None where no file says it.

    Raises:
        ScanProblem: If the file holds none.
    """
    for file in spacing_files(path):
        try:
            z, y, x = (float(step) for step in read_json(Path(file))["spacing"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ScanProblem(
                Reason.SPACING,
                f"its file {Path(file).name} holds no spacing ({type(error).__name__}: {error})",
                where=path,
                mend=_write_spacing(file),
                is_passing=is_system_error(error),
            ) from error
        return z, y, x
    return None


def refuse_without_spacing(path: str, planned: Sequence[float]) -> None:
    """Refuse a TIFF volume that no file says the spacing of, unless the plans have nnU-Net's 1 mm on all axes.

    Raises:
        ScanProblem: With the command that writes one.
    """
    if any(step != 1 for step in planned):
        mend = _write_spacing(str(Path(path).with_suffix(".json")))
        raise ScanProblem(Reason.SPACING, "a TIFF volume without a file that says its spacing", where=path, mend=mend)


def name_for_reader(path: str, spacing: Sequence[float] | None, folder: Path, number: int) -> str:
    """Give a volume and its spacing the names that nnU-Net's reader goes by, without copying voxels if possible.

    Args:
        path: The volume.
        spacing: In mm (z, y, x), if it is known.
        folder: Existing temporary folder, which the caller removes.
        number: Number of the channel; the first one's spacing is that of all.

    Returns:
        Path of the volume to be read.
    """
    given = folder / f"image_{number:04d}.tif"
    try:
        given.symlink_to(path)
    except OSError:  # a file system, or a system, without links
        shutil.copyfile(path, given)
    if number == 0 and spacing is not None:
        (folder / "image.json").write_text(json.dumps({"spacing": list(spacing)}))
    return str(given)


def _write_spacing(file: str) -> str:
    return f"with its own mm along z, y and x: echo '{{\"spacing\": [3, 0.5, 0.5]}}' > {shlex.quote(file)}"
