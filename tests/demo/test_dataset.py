"""Raw data set, splits and plan as nnU-Net reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_genesis.demo import dataset, settings
from nnunet_genesis.demo.synthetic_ct import Split, make_case

COUNTS: dict[Split, int] = {"labelled": 2, "unlabelled": 1, "test": 1}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nnUNet_raw") / settings.DATASET
    dataset.write_scans(folder, folder.parent / "archive", seed=3, counts=COUNTS)
    return folder


def _nnunet_plans() -> dict[str, Any]:
    """Return the parts of nnU-Net 2.8's plans that matter for a network, with five stages as for these scans."""
    modules = {"conv_op": "torch.nn.modules.conv.Conv3d", "nonlin": "torch.nn.LeakyReLU"}
    modules |= {"norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d"}
    network = {
        **modules,
        "n_stages": 5,
        "features_per_stage": [32, 64, 128, 256, 320],
        "kernel_sizes": [[3, 3, 3]] * 5,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
        "n_conv_per_stage": [2] * 5,
        "n_conv_per_stage_decoder": [2] * 4,
        "conv_bias": True,
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "batch_size": 2,
        "patch_size": [48, 80, 80],
        "spacing": [4.98, 4.85, 4.85],
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": [*modules, "dropout_op"],
        },
    }
    return {
        "dataset_name": settings.DATASET,
        "plans_name": "nnUNetPlans",
        "configurations": {"2d": {}, "3d_fullres": configuration},
        "label_manager": "LabelManager",
    }


@pytest.fixture
def demo_plan(tmp_path: Path) -> Path:
    plans = tmp_path / "nnUNetPlans.json"
    plans.write_text(json.dumps(_nnunet_plans()))
    target = tmp_path / f"{settings.PLANS}.json"
    dataset.write_demo_plan(plans, target)
    assert json.loads(plans.read_text()) == _nnunet_plans()
    return target


def test_nnunet_finds_no_fault_with_the_raw_dataset(raw: Path) -> None:
    verify_dataset_integrity(str(raw), num_processes=1)


def test_images_and_labels_keep_arrays_spacing_and_origin(raw: Path) -> None:
    case = make_case(3, "labelled", 1)
    for name in ("imagesTr/labelled_001_0000.nii.gz", "labelsTr/labelled_001.nii.gz"):
        image: Any = sitk.ReadImage(str(raw / name))
        np.testing.assert_allclose(image.GetSpacing(), case.spacing[::-1], rtol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), case.origin[::-1], rtol=1e-6)
        expected = case.image if "images" in name else case.segmentation
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), expected)


def test_unlabelled_scans_are_an_archive_of_images(raw: Path) -> None:
    (scan,) = (raw.parent / "archive").iterdir()
    assert scan.name == "unlabelled_000.nii.gz"
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(scan)))
    np.testing.assert_array_equal(image, make_case(3, "unlabelled", 0).image)


def test_every_scan_of_the_dataset_is_labelled(raw: Path) -> None:
    found = {
        file.name: set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(file)))))
        for file in [*(raw / "labelsTr").iterdir(), *(raw / "labelsTs").iterdir()]
    }
    assert found == {
        "labelled_000.nii.gz": {0, 1, 2},
        "labelled_001.nii.gz": {0, 1, 2},
        "test_000.nii.gz": {0, 1, 2},
    }


def test_splits_name_each_labelled_case_once_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "splits_final.json"
    dataset.write_splits(file, settings.TRAINING, settings.VALIDATION)
    (fold,) = json.loads(file.read_text())
    assert (len(fold["train"]), len(fold["val"])) == (settings.TRAINING, settings.VALIDATION)
    names = [dataset.case_name("labelled", index) for index in range(settings.COUNTS["labelled"])]
    assert sorted(fold["train"] + fold["val"]) == names


def test_nnunet_builds_the_network_of_the_demo_plan(demo_plan: Path) -> None:
    manager = PlansManager(str(demo_plan))
    assert manager.plans_name == settings.PLANS
    assert manager.available_configurations == ["3d_fullres"]
    configuration = manager.get_configuration("3d_fullres")
    assert configuration.data_identifier == f"{settings.PLANS}_3d_fullres"
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        input_channels=1,
        output_channels=3,
        deep_supervision=True,
    )
    outputs = network(_patch(configuration.patch_size))
    assert outputs[0].shape == (1, 3, *settings.PATCH)
    assert sum(parameter.numel() for parameter in network.parameters()) < 2e6


def _patch(size: list[int]) -> Any:
    import torch

    return torch.zeros(1, 1, *size)
