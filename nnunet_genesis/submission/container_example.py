"""One case as grand-challenge.org hands it to a container."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import SimpleITK as sitk

from nnunet_genesis.errors import DataError
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.submission.container.predict import VOLUMES_IN_TIFF, read_plain
from nnunet_genesis.submission.volumes import check_length

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_example(folder: Path, channels: Sequence[Path], inputs: Sequence[str], reader: str | None) -> None:
    """Write a case as .mha, under one name in each socket's folder; 2D images in TIFF stay what they are.

    Args:
        folder: Gets a folder per socket.
        channels: Files of the case.
        inputs: Paths of the sockets.
        reader: nnU-Net's, by the plans.

    Raises:
        DataError: If a file cannot be read, or cannot be written as .mha.
    """
    for channel, path in zip(channels, inputs, strict=True):
        (folder / path).mkdir(parents=True, exist_ok=True)
        if channel.name.endswith((".tif", ".tiff")) and reader != VOLUMES_IN_TIFF:
            shutil.copyfile(channel, folder / path / f"example{channel.suffix}")
            continue
        try:
            check_length(channel)
            image = _read_tiff(channel) if reader == VOLUMES_IN_TIFF else read_plain(channel)
            sitk.WriteImage(image, str(folder / path / "example.mha"), True)
        except DataError:
            raise
        except Exception as error:  # readers raise whatever they happen to stumble over
            told = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise DataError(
                f"the example cannot be handed over as .mha, as the platform does it: {told[-1][:200]}",
                where=channel,
                mend="--example ANOTHER_CASE",
            ) from error


def _read_tiff(file: Path) -> sitk.Image:
    """A volume with the spacing that nnU-Net reads from CASE.json beside it, 1 mm where there is none.

    Raises:
        DataError: If that file tells no spacing.
    """
    import tifffile

    image = sitk.GetImageFromArray(tifffile.imread(file))
    beside = file.with_name(f"{file.stem.rpartition('_')[0]}.json")
    if beside.is_file():
        try:
            image.SetSpacing([float(mm) for mm in reversed(read_json(beside)["spacing"])])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DataError(
                f"no spacing of a volume ({type(error).__name__}: {error})",
                where=beside,
                mend='write {"spacing": [3.0, 0.5, 0.5]}: millimetres, slices first',
            ) from error
    return image
