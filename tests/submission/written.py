"""Raw datasets with test images, and predictions of them that were not made by a network."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from tests.integration.workspace import HIPPOCAMPUS
from tests.real_data import real_data_folder

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

CASES = ("hippocampus_001", "hippocampus_003", "hippocampus_004")
LABELS = {"background": 0, "Anterior": 1, "Posterior": 2}


def write_json(
    folder: Path, labels: dict[str, Any], *, channels: int = 1, ending: str = ".nii.gz", **extra: object
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "channel_names": {str(number): f"channel {number}" for number in range(channels)},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ending,
        **extra,
    }
    (folder / "dataset.json").write_text(json.dumps(told))


def real_hippocampus(root: Path) -> tuple[Path, Path]:
    """Three real scans as test images, and their labels, by people, as predictions.

    Returns:
        The raw dataset and the folder of predictions.
    """
    source = real_data_folder("hippocampus")
    dataset, predictions = root / "nnUNet_raw" / HIPPOCAMPUS, root / "predicted"
    (dataset / "imagesTs").mkdir(parents=True)
    predictions.mkdir()
    write_json(dataset, LABELS, name="Hippocampus", numTest=len(CASES))
    for case in CASES:
        shutil.copy(source / "images" / f"{case}.nii.gz", dataset / "imagesTs" / f"{case}_0000.nii.gz")
        write_prediction(predictions / f"{case}.nii.gz", sitk.ReadImage(str(source / "labels" / f"{case}.nii.gz")))
    return dataset, predictions


def write_prediction(file: Path, image: sitk.Image, pixel_type: int = sitk.sitkUInt8) -> None:
    sitk.WriteImage(sitk.Cast(image, pixel_type), str(file), True)


def write_blob(file: Path, shape: tuple[int, ...], value: float, spacing: tuple[float, ...]) -> None:
    """A box of one value in the middle."""
    array: npt.NDArray[np.uint8] = np.zeros(shape, dtype=np.uint8)
    array[tuple(slice(side // 4, max(side // 4 + 1, 3 * side // 4)) for side in shape)] = value
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(file))
