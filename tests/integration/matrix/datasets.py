"""The datasets of the matrix, planned and preprocessed by nnU-Net's commands, with small copies of the plans."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from tests.integration.workspace import HIPPOCAMPUS, add_blobs, add_hippocampus, shrink_plans
from tests.real_data import real_data_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.workspace import Workspace

TINY = "nnUNetPlansTiny"
RESIDUAL_SIZES = ("M", "L", "XL")
LARGE, FOUR, ANISOTROPIC = "Dataset811_Large", "Dataset812_FourChannels", "Dataset813_Anisotropic"
RESIDUAL, REGIONS, IGNORE = "Dataset814_Residual", "Dataset815_Regions", "Dataset816_Ignore"
_CHANNELS = ("T1", "T1ce", "T2", "FLAIR")


def prepare(workspace: Workspace, dataset: str) -> None:
    """Write, plan and preprocess a dataset, unless that is done already."""
    done = workspace.preprocessed / dataset / "prepared"
    if not done.exists():
        shutil.rmtree(workspace.raw / dataset, ignore_errors=True)
        shutil.rmtree(workspace.preprocessed / dataset, ignore_errors=True)
        _MAKERS[dataset](workspace)
        done.touch()


def read_plans(workspace: Workspace, dataset: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((workspace.preprocessed / dataset / f"{name}.json").read_text())
    return content


def _make_hippocampus(workspace: Workspace) -> None:
    add_hippocampus(workspace, real_data_folder("hippocampus"), 10)
    _plan(workspace, HIPPOCAMPUS, "2d", "3d_fullres")
    shrink_plans(workspace, HIPPOCAMPUS, "2d", [48, 32], TINY)
    shrink_plans(workspace, HIPPOCAMPUS, "3d_fullres", [24, 32, 24], TINY)


def _make_large(workspace: Workspace) -> None:
    """Images so large for the GPU that the planner is told of that it makes a cascade."""
    _make_blobs(workspace, LARGE, ("CT",), (72, 72, 72))
    _start(workspace, "extract_fingerprint", LARGE)
    _start(workspace, "plan_experiment", LARGE, "-gpu_memory_target", "0.1")
    _start(workspace, "preprocess", LARGE, "-c", "3d_lowres", "3d_fullres", "-np", "1", "1")
    for configuration in ("3d_lowres", "3d_fullres"):
        planned = read_plans(workspace, LARGE, "nnUNetPlans")["configurations"][configuration]
        shrink_plans(workspace, LARGE, configuration, planned["patch_size"], TINY)
    small = read_plans(workspace, LARGE, TINY)
    stage = "3d_cascade_fullres"
    small["configurations"][stage] = read_plans(workspace, LARGE, "nnUNetPlans")["configurations"][stage]
    (workspace.preprocessed / LARGE / f"{TINY}.json").write_text(json.dumps(small))


def _make_four_channels(workspace: Workspace) -> None:
    _make_blobs(workspace, FOUR, _CHANNELS, (32, 32, 32))
    _plan(workspace, FOUR, "3d_fullres")
    shrink_plans(workspace, FOUR, "3d_fullres", [24, 24, 24], TINY)


def _make_anisotropic(workspace: Workspace) -> None:
    _make_blobs(workspace, ANISOTROPIC, ("CT",), (16, 128, 128), (5.0, 0.8, 0.8))
    _plan(workspace, ANISOTROPIC, "3d_fullres")
    shrink_plans(workspace, ANISOTROPIC, "3d_fullres", [16, 128, 128], TINY)


def _make_residual(workspace: Workspace) -> None:
    """The planners are told of a quarter of the spacing, to plan the networks that large images get."""
    _make_blobs(workspace, RESIDUAL, ("CT",), (64, 64, 64))
    _plan(workspace, RESIDUAL, "3d_fullres")
    for size in RESIDUAL_SIZES:
        planned, small = f"nnUNetResEncUNet{size}Plans", f"nnUNetResEncUNet{size}PlansTiny"
        _start(
            workspace, "plan_experiment", RESIDUAL, "-pl", f"nnUNetPlannerResEnc{size}", "-overwrite_target_spacing",
            "0.25", "0.25", "0.25", "-overwrite_plans_name", planned,
        )  # fmt: skip
        shrink_plans(workspace, RESIDUAL, "3d_fullres", [64, 64, 64], small, source=planned, stages=9)
        plans = read_plans(workspace, RESIDUAL, small)
        plans["configurations"]["3d_fullres"]["spacing"] = [1.0, 1.0, 1.0]
        (workspace.preprocessed / RESIDUAL / f"{small}.json").write_text(json.dumps(plans))


def _make_regions(workspace: Workspace) -> None:
    regions: dict[str, object] = {"background": 0, "whole": [1, 2], "core": 2}
    _make_blobs(workspace, REGIONS, _CHANNELS, (32, 32, 32), labels=regions, regions_class_order=[1, 2])
    _plan(workspace, REGIONS, "3d_fullres")
    shrink_plans(workspace, REGIONS, "3d_fullres", [24, 24, 24], TINY)


def _make_ignore(workspace: Workspace) -> None:
    labels: dict[str, object] = {"background": 0, "rim": 1, "ignore": 2}
    _make_blobs(workspace, IGNORE, ("CT",), (32, 32, 32), labels=labels)
    _plan(workspace, IGNORE, "3d_fullres")
    shrink_plans(workspace, IGNORE, "3d_fullres", [24, 24, 24], TINY)


_MAKERS: dict[str, Callable[[Workspace], None]] = {
    HIPPOCAMPUS: _make_hippocampus,
    LARGE: _make_large,
    FOUR: _make_four_channels,
    ANISOTROPIC: _make_anisotropic,
    RESIDUAL: _make_residual,
    REGIONS: _make_regions,
    IGNORE: _make_ignore,
}


def _make_blobs(
    workspace: Workspace,
    name: str,
    channels: tuple[str, ...],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    **settings: Any,
) -> None:
    """Five labelled scans, and one without labels in imagesTs."""
    add_blobs(workspace, name, channels=channels, shape=shape, spacing=spacing, count=6, **settings)
    folder = workspace.raw / name
    (folder / "imagesTs").mkdir()
    for file in (folder / "imagesTr").glob("scan_5_*"):
        file.rename(folder / "imagesTs" / file.name)
    (folder / "labelsTr" / "scan_5.nii.gz").unlink()
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 5}))


def _plan(workspace: Workspace, dataset: str, *configurations: str) -> None:
    _start(workspace, "plan_and_preprocess", dataset, "-c", *configurations, "-np", "2", "-npfp", "2")


def _start(workspace: Workspace, command: str, dataset: str, *arguments: str) -> None:
    # Planning takes its number of threads from nnUNet_n_proc_DA and refuses the 0 that training accepts.
    workspace.run(f"nnUNetv2_{command}", "-d", dataset[7:10], *arguments, nnUNet_n_proc_DA="1")
