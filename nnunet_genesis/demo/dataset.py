"""The demonstration's files: a raw data set, splits and a small plan in nnU-Net's format, and an unlabelled archive.

nnU-Net demands a label file for every scan in ``imagesTr``, so the scans that stand for a hospital's archive are kept
in a folder of their own, and become a pool for pretraining.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import SimpleITK as sitk

from nnunet_genesis.demo import settings
from nnunet_genesis.demo.synthetic_ct import LIVER, TUMOUR, Split, SyntheticCT, make_case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FILE_ENDING = ".nii.gz"
LABELS = {"background": 0, "liver": LIVER, "tumour": TUMOUR}


def case_name(split: Split, index: int) -> str:
    """Name of a case, e.g. ``labelled_003``."""
    return f"{split}_{index:03d}"


def write_scans(
    folder: Path, archive: Path, seed: int, counts: dict[Split, int], on_case: Callable[[str], None] = lambda _: None
) -> None:
    """Write a raw data set (``imagesTr``, ``labelsTr``, ``imagesTs``, ``labelsTs``, ``dataset.json``) and an archive.

    Args:
        folder: Folder of the data set, e.g. ``nnUNet_raw/Dataset990_GenesisDemo``.
        archive: Folder of the unlabelled scans.
        seed: Seed of all cases.
        counts: Number of cases of each split.
        on_case: Called with the name of each case once it is written.
    """
    archive.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        part = "Ts" if split == "test" else "Tr"
        images, labels = folder / f"images{part}", folder / f"labels{part}"
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            case = make_case(seed, split, index)
            name = case_name(split, index)
            if split == "unlabelled":
                _write_nifti(archive / f"{name}{FILE_ENDING}", case.image, case)
            else:
                _write_nifti(images / f"{name}_0000{FILE_ENDING}", case.image, case)
                _write_nifti(labels / f"{name}{FILE_ENDING}", case.segmentation, case)
            on_case(name)
    description = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": counts["labelled"],
        "file_ending": FILE_ENDING,
        "overwrite_image_reader_writer": "SimpleITKIO",
        "description": "Synthetic abdominal CT of nnunet-genesis.",
    }
    _write_json(folder / "dataset.json", description)


def _write_nifti(file: Path, array: NDArray[np.int16] | NDArray[np.uint8], case: SyntheticCT) -> None:
    """Write an array with the case's spacing and origin; SimpleITK orders both x, y, z."""
    image: Any = sitk.GetImageFromArray(array)
    image.SetSpacing(case.spacing[::-1])
    image.SetOrigin(case.origin[::-1])
    sitk.WriteImage(image, str(file), useCompression=True)


def write_splits(file: Path, training: int, validation: int) -> None:
    """Write nnU-Net's ``splits_final.json`` with one fold."""
    names = [case_name("labelled", index) for index in range(training + validation)]
    _write_json(file, [{"train": names[:training], "val": names[training:]}])


def write_demo_plan(plans: Path, target: Path) -> None:
    """Write a small plan for the CPU: nnU-Net's own plan with a smaller network, patch and batch.

    Args:
        plans: nnU-Net's ``nnUNetPlans.json``.
        target: The file to write; its name without the suffix becomes the plans identifier.
    """
    plan = json.loads(plans.read_text())
    full = plan["configurations"]["3d_fullres"]
    network: dict[str, Any] = full["architecture"]["arch_kwargs"]
    stages = len(settings.FEATURES)
    network |= {
        "n_stages": stages,
        "features_per_stage": list(settings.FEATURES),
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
    }
    full |= {
        "data_identifier": f"{target.stem}_3d_fullres",
        "patch_size": list(settings.PATCH),
        "batch_size": settings.BATCH,
        "batch_dice": True,  # as nnU-Net plans it where patches are much smaller than scans
    }
    plan |= {"plans_name": target.stem, "configurations": {"3d_fullres": full}}
    _write_json(target, plan)


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=4) + "\n")
