"""Datasets that nnU-Net's own commands planned and preprocessed, once per session."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.integration.workspace import (
    HIPPOCAMPUS,
    TINY,
    TRAINER,
    Workspace,
    add_blobs,
    add_hippocampus,
    make_workspace,
    shrink_plans,
)
from tests.real_data import real_data_folder

HIPPOCAMPUS_SCANS = 12


@pytest.fixture(scope="session")
def hippocampus(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Twelve real hippocampus scans, planned and preprocessed, and a small copy of their plans."""
    source = real_data_folder("hippocampus")
    workspace = make_workspace(tmp_path_factory.mktemp("hippocampus"))
    add_hippocampus(workspace, source, HIPPOCAMPUS_SCANS)
    _plan_and_preprocess(workspace, "3d_fullres", "4")
    shrink_plans(workspace, HIPPOCAMPUS, "3d_fullres", [24, 32, 24], "nnUNetPlansTiny")
    return workspace


@pytest.fixture(scope="session")
def pretrained(hippocampus: Workspace) -> Path:
    """The final checkpoint of a short pretraining that never saw fold 0's validation cases."""
    output = hippocampus.run(
        "genesis-pretrain-nnunet", HIPPOCAMPUS, *TINY, "-device", "cpu", "-np", "1", "--epochs", "2",
        "--iterations-per-epoch", "3", "--exclude-fold", "0",
    )  # fmt: skip
    file = (
        hippocampus.results
        / HIPPOCAMPUS
        / "GenesisPretraining_models-genesis__nnUNetPlansTiny__3d_fullres__without_fold_0"
    )
    assert output.strip().endswith(str(file / "checkpoint_final.pth"))
    return file / "checkpoint_final.pth"


@pytest.fixture(scope="session")
def fold_folder(hippocampus: Workspace, pretrained: Path) -> Path:
    """Fold 0 trained from the pretrained encoder, with probabilities of the validation cases."""
    assert pretrained.is_file()
    hippocampus.run("nnUNetv2_train", "4", "3d_fullres", "0", *TINY, "-device", "cpu", "-tr", TRAINER, "--npz")
    return hippocampus.results / HIPPOCAMPUS / f"{TRAINER}__nnUNetPlansTiny__3d_fullres" / "fold_0"


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Four channels, preprocessed, small plans."""
    workspace = make_workspace(tmp_path_factory.mktemp("synthetic"))
    add_blobs(
        workspace,
        "Dataset801_FourChannels",
        channels=("T1", "T1ce", "T2", "FLAIR"),
        shape=(32, 32, 32),
        spacing=(1.0, 1.0, 1.0),
    )
    _plan_and_preprocess(workspace, "3d_fullres", "801")
    shrink_plans(workspace, "Dataset801_FourChannels", "3d_fullres", [24, 24, 24], "nnUNetPlansTiny")
    return workspace


@pytest.fixture(scope="session")
def other_shapes(synthetic: Workspace) -> Workspace:
    """The same with two more: anisotropic with region-based labels, and 2D with an ignore label."""
    add_blobs(
        synthetic,
        "Dataset802_Anisotropic",
        channels=("CT",),
        shape=(16, 128, 128),
        spacing=(5.0, 0.8, 0.8),
        labels={"background": 0, "whole": [1, 2], "core": 2},
        regions_class_order=[1, 2],
    )
    add_blobs(
        synthetic,
        "Dataset803_Flat",
        channels=("R", "G"),
        shape=(1, 96, 96),
        spacing=(999.0, 1.0, 1.0),
        labels={"background": 0, "rim": 1, "ignore": 2},
    )
    _plan_and_preprocess(synthetic, "3d_fullres", "802")
    _plan_and_preprocess(synthetic, "2d", "803")
    shrink_plans(synthetic, "Dataset802_Anisotropic", "3d_fullres", [16, 64, 64], "nnUNetPlansTiny")
    shrink_plans(synthetic, "Dataset803_Flat", "2d", [64, 64], "nnUNetPlansTiny")
    return synthetic


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nnU-Net but without our start-up file: only named folders come from the present one."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    # Start-up files in a folder that is named in one are not read.
    Path(packages, "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def _plan_and_preprocess(workspace: Workspace, configuration: str, *datasets: str) -> None:
    # Planning takes its number of threads from nnUNet_n_proc_DA and refuses the 0 that training accepts.
    workspace.run(
        "nnUNetv2_plan_and_preprocess", "-d", *datasets, "-c", configuration, "-np", "2", "-npfp", "2",
        nnUNet_n_proc_DA="1",
    )  # fmt: skip
