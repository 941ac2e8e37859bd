"""Preprocessed datasets written directly, for tests that need nnU-Net's files but not its preprocessing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy

from tests.transfer.networks import describe

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DATASET = "Dataset777_Written"


def tiny_plans(patch_size: tuple[int, ...], channels: int, *, scheme: str = "ZScoreNormalization") -> dict[str, object]:
    """Plans with one configuration, ``3d_fullres`` or ``2d``, and a U-Net of two stages."""
    dim = len(patch_size)
    architecture = describe(
        (4, 8), dim=dim, kernels=[[1, 3, 3][-dim:], [3] * dim], strides=[[1] * dim, [1, 2, 2][-dim:]]
    )
    configuration = {
        "data_identifier": "nnUNetPlans_cases",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch_size),
        "spacing": [3.0, 1.0, 1.0][-dim:],
        "normalization_schemes": [scheme] * channels,
        "use_mask_for_norm": [False] * channels,
        "architecture": architecture,
    }
    statistics = {"mean": 100.0, "std": 50.0, "percentile_00_5": 0.0, "percentile_99_5": 250.0}
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "configurations": {"2d" if dim == 2 else "3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {str(channel): statistics for channel in range(channels)},
    }


def write_dataset(
    root: Path,
    cases: dict[str, npt.NDArray[np.float32]],
    patch_size: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
    *,
    file_format: str = "b2nd",
) -> Path:
    """Write cases (channels, z, y, x) as nnU-Net's preprocessing leaves them, and point its variables there.

    Returns:
        The folder of the dataset inside nnUNet_preprocessed.
    """
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / variable).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(variable, str(root / variable))
    folder = root / "nnUNet_preprocessed" / DATASET
    cases_folder = folder / "nnUNetPlans_cases"
    cases_folder.mkdir(parents=True)
    channels = next(iter(cases.values())).shape[0]
    (folder / "nnUNetPlans.json").write_text(json.dumps(tiny_plans(patch_size, channels)))
    dataset_json = {
        "channel_names": {str(channel): f"channel {channel}" for channel in range(channels)},
        "labels": {"background": 0, "target": 1},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    for name, image in cases.items():
        write_case(cases_folder, name, image, file_format=file_format)
    return folder


def write_case(folder: Path, name: str, image: npt.NDArray[np.float32], *, file_format: str = "b2nd") -> None:
    """Write one case (channels, z, y, x) with an empty segmentation."""
    segmentation = np.zeros((1, *image.shape[1:]), dtype=np.int8)
    target = str(folder / name)
    if file_format == "b2nd":
        block = tuple(min(16, side) for side in image.shape[1:])
        nnUNetDatasetBlosc2.save_case(image, segmentation, {}, target, chunks=(1, *image.shape[1:]), blocks=(1, *block))
    else:
        nnUNetDatasetNumpy.save_case(image, segmentation, {}, target)
    if file_format == "npy":
        np.save(f"{target}.npy", image)
        np.save(f"{target}_seg.npy", segmentation)


def smooth_cases(
    count: int, shape: tuple[int, ...], *, channels: int = 1, seed: int = 0
) -> dict[str, npt.NDArray[np.float32]]:
    """Cases of correlated noise with mean 0 and unit variance, as z-scored images have."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(seed)
    cases = {}
    for number in range(count):
        image = gaussian_filter(generator.normal(size=(channels, *shape)), sigma=(0, 1, 2, 2))
        cases[f"case_{number:03d}"] = ((image - image.mean()) / image.std()).astype(np.float32)
    return cases
