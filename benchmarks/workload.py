"""Preprocessed datasets and networks to measure with: written by nnU-Net's own code, about as large as real ones."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from nnunetv2.training.dataloading import nnunet_dataset
from scipy.ndimage import gaussian_filter

from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.plans import PlannedConfiguration, list_cases, load_planned_configuration
from nnunet_genesis.pretraining.case_index import CaseIndex, index_cases
from nnunet_genesis.pretraining.case_samples import sample_intensities
from nnunet_genesis.pretraining.case_survey import survey_cases, survey_file
from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.intensities import IntensityRange, measure_range
from nnunet_genesis.pretraining.sources import Source
from tests.preprocessed import DATASET, write_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

ARCHITECTURES: dict[str, tuple[str, dict[str, int | tuple[int, ...]]]] = {
    "plain": ("PlainConvUNet", {"n_conv_per_stage": 2}),
    "resenc-l": ("ResidualEncoderUNet", {"n_blocks_per_stage": (1, 3, 4, 6, 6, 6, 6)}),
}
"""nnU-Net's two presets: its U-Net, and the residual encoder of size L."""
AIR = -1.2
"""Intensity around the body."""


@contextmanager
def written_dataset(
    case_shape: tuple[int, ...],
    patch_size: tuple[int, ...],
    *,
    num_cases: int = 3,
    architecture: str = "plain",
    base_features: int = 32,
) -> Iterator[PlannedConfiguration]:
    """Write a CT-like dataset into a temporary folder, and open it."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as environment:
        rng = np.random.default_rng(0)
        cases = {f"case_{number:03d}": body_in_air(case_shape, rng) for number in range(num_cases)}
        dataset_folder = write_dataset(Path(folder), cases, patch_size, environment)
        for name, image in cases.items():
            save_as_preprocessed(image, dataset_folder / "nnUNetPlans_cases" / name, patch_size)
        plans_file = dataset_folder / "nnUNetPlans.json"
        plans = json.loads(plans_file.read_text())
        plans["configurations"]["3d_fullres"]["architecture"] = describe_network(
            plans["configurations"]["3d_fullres"]["architecture"], patch_size, architecture, base_features
        )
        plans_file.write_text(json.dumps(plans))
        yield load_planned_configuration(DATASET)


def body_in_air(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """An ellipsoid of smooth texture, (1, *shape), that fills a third of the scan; constant air around it."""
    texture = gaussian_filter(rng.normal(size=shape), 2)
    grid = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij", sparse=True)
    inside = sum(np.square(axis / 0.85) for axis in grid) < 1
    return np.where(inside, texture / texture.std(), AIR)[None].astype(np.float32)


def save_as_preprocessed(image: npt.NDArray[np.float32], target: Path, patch_size: tuple[int, ...]) -> None:
    """Write one case as the preprocessor of nnU-Net 2.8 does: its blocks, its compression."""
    blocks, chunks = nnunet_dataset.comp_blosc2_params(image.shape, patch_size, image.itemsize)
    segmentation = np.zeros(image.shape, dtype=np.int8)
    for file in target.parent.glob(f"{target.name}*"):
        file.unlink()
    nnunet_dataset.nnUNetDatasetBlosc2.save_case(image, segmentation, {}, str(target), chunks=chunks, blocks=blocks)


def describe_network(
    template: dict[str, Any], patch_size: tuple[int, ...], architecture: str, base_features: int
) -> dict[str, Any]:
    """The network that nnU-Net plans for isotropic voxels: stages until an axis has four voxels, six at most."""
    class_name, settings = ARCHITECTURES[architecture]
    strides = [[1] * len(patch_size)]
    sides = list(patch_size)
    while len(strides) < 6 and max(sides) >= 8:
        halved = [2 if side >= 8 and side % 2 == 0 else 1 for side in sides]
        strides.append(halved)
        sides = [side // step for side, step in zip(sides, halved, strict=True)]
    stages = len(strides)
    per_stage = {
        name: [value] * stages if isinstance(value, int) else list(value[:stages]) for name, value in settings.items()
    }
    arguments = {key: value for key, value in template["arch_kwargs"].items() if key != "n_conv_per_stage"}
    arguments |= {
        "n_stages": stages,
        "features_per_stage": [min(base_features * 2**stage, 320) for stage in range(stages)],
        "kernel_sizes": [[3] * len(patch_size)] * stages,
        "strides": strides,
        "n_conv_per_stage_decoder": [2 if architecture == "plain" else 1] * (stages - 1),
        **per_stage,
    }
    name = f"dynamic_network_architectures.architectures.unet.{class_name}"
    return {**template, "network_class_name": name, "arch_kwargs": arguments}


def index_all(planned: PlannedConfiguration) -> CaseIndex:
    """Index the cases of a written dataset."""
    names = [case for case in list_cases(planned.cases_folder) if case.startswith("case_")]
    records = survey_cases(planned, names, survey_file(planned), workers=2, show_progress=False)
    return index_cases(planned.cases_folder, list(records.values()), names, [""] * len(names))


def all_patches(planned: PlannedConfiguration, **settings: Any) -> PatchDataset:
    """Patches of all cases of a written dataset, as pretraining draws them."""
    settings.setdefault("max_background_share", PretrainingConfig("models-genesis", 2).max_background_share)
    settings.setdefault("patch_size", planned.patch_size)
    return PatchDataset([index_all(planned)], [1.0], seed=(0,), **settings)


def measured_range(planned: PlannedConfiguration) -> IntensityRange:
    """Range of intensities of a written dataset."""
    index = index_all(planned)
    source = Source("labelled", "labelled cases", index, index, (), (), chance=1.0)
    return measure_range(planned, sample_intensities([source], np.random.default_rng(0)))
