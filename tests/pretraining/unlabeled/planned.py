"""Plans without any case, raw scans for them, and pools built of these."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from nnunet_genesis.plans import PlannedConfiguration, load_planned_configuration
from nnunet_genesis.pretraining.unlabeled.build import BuildOptions, build_pool
from tests.preprocessed import DATASET, tiny_plans

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import pytest

    from nnunet_genesis.pretraining.unlabeled.report import BuildOutcome

_RESAMPLING = {"order": 3, "order_z": 0, "force_separate_z": None}


def plan_dataset(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    patch_size: tuple[int, ...] = (8, 16, 16),
    channels: int = 1,
    scheme: str = "ZScoreNormalization",
) -> PlannedConfiguration:
    """Write plans as nnU-Net's planning leaves them, with spacing 3 x 1 x 1 mm, and point nnU-Net's variables there."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / variable).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(variable, str(root / variable))
    folder = root / "nnUNet_preprocessed" / DATASET
    folder.mkdir()
    plans: dict[str, Any] = tiny_plans(patch_size, channels, scheme=scheme)
    plans.update(image_reader_writer="SimpleITKIO", transpose_forward=[0, 1, 2], transpose_backward=[0, 1, 2])
    for settings in plans["configurations"].values():
        for kind in ("data", "seg"):
            settings[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
            settings[f"resampling_fn_{kind}_kwargs"] = {"is_seg": kind == "seg", **_RESAMPLING}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    names = {str(channel): f"channel {channel}" for channel in range(channels)}
    description = {"channel_names": names, "labels": {"background": 0, "target": 1}, "numTraining": 0}
    (folder / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz"}))
    configuration = "2d" if len(patch_size) == 2 else "3d_fullres"
    return load_planned_configuration(DATASET, configuration=configuration, needs_cases=False)


def draw_scan(seed: int, shape: tuple[int, ...] = (6, 20, 18)) -> npt.NDArray[np.float32]:
    """Smooth structures and noise, as different from any other seed's as two scans are."""
    generator = np.random.default_rng(seed)
    field = gaussian_filter(generator.normal(size=shape), [max(1, side / 8) for side in shape])
    scan: npt.NDArray[np.float32] = (300 + 2000 * field + 5 * generator.normal(size=shape)).astype(np.float32)
    return scan


def write_scan(
    file: Path, array: npt.NDArray[np.generic], spacing: tuple[float, ...] = (3.0, 1.0, 1.0), **header: Any
) -> Path:
    """Write an array (z, y, x) in the format that the file's name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    for name, value in header.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(file))
    return file


def build(planned: PlannedConfiguration, *inputs: Path, name: str = "pool", **options: Any) -> BuildOutcome:
    """Build a pool with one worker and one minute per scan, or what is given."""
    return build_pool(planned, inputs, name, replace(BuildOptions(seconds=60), **options))
