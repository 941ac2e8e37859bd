"""Real scans as an nnU-Net dataset with plans that two cores can train: what the workspaces of our evidence share."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

from nnunet_genesis.demo.commands import exports
from tests.integration.workspace import Workspace, write_dataset_json

PLANS = "nnUNetPlansSmall"
FEATURES = [16, 32, 64, 128]
BATCH_SIZE = 2


def folder_argument(description: str | None) -> Path:
    """Absolute path of the new folder that the command line names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder")
    folder: Path = parser.parse_args().folder.absolute()
    return folder


def add_scans(workspace: Workspace, source: Path, dataset: str, labels: dict[str, object]) -> list[str]:
    """Copy all scans and labels as a raw dataset of one MR channel; return the names of the cases."""
    folder = workspace.raw / dataset
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (source / "images").glob("*.nii.gz"))
    for case in cases:
        shutil.copy(source / "images" / f"{case}.nii.gz", folder / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.copy(source / "labels" / f"{case}.nii.gz", folder / "labelsTr" / f"{case}.nii.gz")
    write_dataset_json(folder, ("MRI",), labels, len(cases))
    return cases


def preprocess_with_small_plans(workspace: Workspace, dataset: str, patch_size: tuple[int, int, int] | None) -> None:
    """Preprocess with nnU-Net's plans of the dataset, except fewer features, a batch of 2 and possibly another patch.

    Args:
        workspace: Holds the planned raw dataset.
        dataset: Name of the dataset, e.g. Dataset004_Hippocampus.
        patch_size: Voxels per axis (z, y, x), with strides and kernels by nnU-Net's rules; None keeps nnU-Net's.
    """
    folder = workspace.preprocessed / dataset
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    settings = plans["configurations"]["3d_fullres"]
    network = settings["architecture"]["arch_kwargs"]
    if patch_size is not None:
        _, strides, kernels, patch, _ = get_pool_and_conv_props(settings["spacing"], patch_size, 4, 999)
        stages = len(strides)
        settings["patch_size"] = [int(side) for side in patch]
        network |= {"n_stages": stages, "strides": strides, "kernel_sizes": kernels}
        network |= {"n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1)}
    network["features_per_stage"] = FEATURES[: network["n_stages"]]
    settings["batch_size"] = BATCH_SIZE
    plans["plans_name"], plans["configurations"] = PLANS, {"3d_fullres": settings}
    (folder / f"{PLANS}.json").write_text(json.dumps(plans, indent=1))
    number = str(int(dataset[len("Dataset") :][:3]))
    workspace.run("nnUNetv2_preprocess", "-d", number, "-c", "3d_fullres", "-plans_name", PLANS, "-np", "2")


def export_lines(root: Path) -> str:
    """Lines for a shell that point nnU-Net into the workspace and spare two cores."""
    variables = {room: str(root / room) for room in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    variables |= {"nnUNet_compile": "0", "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"}
    return "\n".join(exports(variables))
