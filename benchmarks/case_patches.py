"""One patch of every case, for scripts that ask trained networks and encoders without nnU-Net's sliding window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_genesis.errors import SetupError
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.plans_files import read_dataset_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnunet_genesis.benchmark.settings import BenchmarkSettings
    from nnunet_genesis.planned_networks import PlannedNetwork


def read_patches(
    cases: Iterable[str], settings: BenchmarkSettings, planned: PlannedNetwork
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut or pad cases around their middles to the patch of the plans.

    Returns:
        Images (cases, channels, *patch_size), preprocessed, and classes (cases, *patch_size).

    Raises:
        SetupError: If labels are regions, or there is one to ignore: there is no class per voxel then.
    """
    labels = read_dataset_json(planned.file.parent / "dataset.json")["labels"]
    if "ignore" in labels or not all(isinstance(value, int) for value in labels.values()):
        raise SetupError(
            "these scripts are for labels that are classes, not for regions or labels to ignore",
            where=planned.file.parent / "dataset.json",
            mend="take another dataset",
        )
    configuration = load_planned_configuration(settings.dataset, settings.plans, settings.configuration)
    dataset = nnUNetDatasetBlosc2(str(configuration.cases_folder))
    images, classes = [], []
    for case in cases:
        image, segmentation, _, _ = dataset.load_case(case)
        corners = [(size - side) // 2 for size, side in zip(image.shape[1:], planned.patch_size, strict=True)]
        box = [[corner, corner + side] for corner, side in zip(corners, planned.patch_size, strict=True)]
        images.append(torch.from_numpy(crop_and_pad_nd(image, box, 0)))
        classes.append(torch.from_numpy(crop_and_pad_nd(segmentation, box, 0))[0])
    return torch.stack(images).float(), torch.stack(classes)


def mean_dice(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean over the classes that are there; NaN where there is none."""
    scores: list[float] = []
    for label in truth.unique():
        if label > 0:
            both = (predicted == label).sum() + (truth == label).sum()
            scores.append((2 * ((predicted == label) & (truth == label)).sum() / both).item())
    return sum(scores) / len(scores) if scores else math.nan
