"""A folder with nnU-Net's three rooms, raw datasets in it, and the real commands run on them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

SCRIPTS = Path(sys.executable).parent
HIPPOCAMPUS = "Dataset004_Hippocampus"
TINY = ("-p", "nnUNetPlansTiny")
TRAINER = "nnUNetTrainerGenesis_1epochs_2iters"
"""The trainer of the model that several tests look at."""


@dataclass(frozen=True)
class Workspace:
    """Runs commands with nnU-Net's variables pointing into one folder."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "nnUNet_raw"

    @property
    def preprocessed(self) -> Path:
        return self.root / "nnUNet_preprocessed"

    @property
    def results(self) -> Path:
        return self.root / "nnUNet_results"

    def environment(self, **extra: str) -> dict[str, str]:
        rooms = {name: str(self.root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        quick = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "nnUNet_compile": "0", "PYTHONWARNINGS": "ignore"}
        quick["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that spin while they wait take the cores from loader processes
        inherited = {name: value for name, value in os.environ.items() if name != "nnUNet_genesis_checkpoint"}
        return {**inherited, **rooms, **quick, **extra}

    def start(self, *command: str, new_session: bool = False, **extra: str) -> subprocess.Popen[str]:
        """Start a command; the executable is taken from beside the interpreter."""
        return subprocess.Popen(
            [str(SCRIPTS / command[0]), *command[1:]],
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.root,
            start_new_session=new_session,
        )

    def run(self, *command: str, expect: int = 0, timeout: float = 600, **extra: str) -> str:
        """Run a command to its end and return its output; another exit code than expected fails with the output."""
        process = self.start(*command, new_session=False, **extra)
        output, _ = process.communicate(timeout=timeout)
        assert process.returncode == expect, f"{' '.join(command)} ended with {process.returncode}:\n{output[-6000:]}"
        return output


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read a started command's output up to the line that holds a text; fails where the command ends before."""
    assert process.stdout is not None
    output = ""
    while text not in output:
        line = process.stdout.readline()
        assert line, f"the command ended before it wrote {text!r}:\n{output}"
        output += line
    return output


def make_workspace(root: Path) -> Workspace:
    workspace = Workspace(root)
    for folder in (workspace.raw, workspace.preprocessed, workspace.results):
        folder.mkdir(parents=True)
    return workspace


def write_dataset_json(
    folder: Path, channels: tuple[str, ...], labels: dict[str, object], count: int, **extra: object
) -> None:
    content = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": labels,
        "numTraining": count,
        "file_ending": ".nii.gz",
        **extra,
    }
    (folder / "dataset.json").write_text(json.dumps(content))


def add_hippocampus(workspace: Workspace, source: Path, count: int) -> None:
    """Copy the first scans as `HIPPOCAMPUS`; two more go to imagesTs."""
    folder = workspace.raw / HIPPOCAMPUS
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (source / "images").glob("*.nii.gz"))
    for case in cases[:count]:
        shutil.copy(source / "images" / f"{case}.nii.gz", folder / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.copy(source / "labels" / f"{case}.nii.gz", folder / "labelsTr" / f"{case}.nii.gz")
    for case in cases[count : count + 2]:
        shutil.copy(source / "images" / f"{case}.nii.gz", folder / "imagesTs" / f"{case}_0000.nii.gz")
    write_dataset_json(folder, ("MRI",), {"background": 0, "anterior": 1, "posterior": 2}, count)


def add_blobs(
    workspace: Workspace,
    name: str,
    *,
    channels: tuple[str, ...],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    count: int = 6,
    labels: dict[str, object] | None = None,
    **extra: object,
) -> None:
    """Write smooth random scans (z, y, x) with two nested blobs as labels 1 and 2."""
    folder = workspace.raw / name
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number in range(count):
        generator = np.random.default_rng([count, number])
        field = gaussian_filter(generator.normal(size=shape), [max(1, side / 8) for side in shape])
        label = (field > np.quantile(field, 0.7)).astype(np.uint8) + (field > np.quantile(field, 0.9))
        for channel in range(len(channels)):
            contrast = generator.uniform(50, 200, size=3)
            image = contrast[label] + 10 * generator.normal(size=shape) + 300
            _write_image(image.astype(np.float32), spacing, folder / "imagesTr" / f"scan_{number}_{channel:04d}.nii.gz")
        _write_image(label, spacing, folder / "labelsTr" / f"scan_{number}.nii.gz")
    write_dataset_json(folder, channels, labels or {"background": 0, "rim": 1, "core": 2}, count, **extra)


def shrink_plans(
    workspace: Workspace,
    dataset: str,
    configuration: str,
    patch_size: list[int],
    name: str,
    *,
    source: str = "nnUNetPlans",
    stages: int = 3,
) -> None:
    """Add one small configuration of some plans to those of another name: few features, small patch, batch 2.

    Plain networks keep one convolution per stage; residual ones keep their blocks.
    """
    folder = workspace.preprocessed / dataset
    plans = json.loads((folder / f"{source}.json").read_text())
    settings = plans["configurations"][configuration]
    architecture = settings["architecture"]["arch_kwargs"]
    stages = min(stages, architecture["n_stages"])
    for key in ("kernel_sizes", "strides", "n_blocks_per_stage"):
        if key in architecture:
            architecture[key] = architecture[key][:stages]
    architecture["features_per_stage"] = [min(8 * 2**stage, 32) for stage in range(stages)]
    if "n_conv_per_stage" in architecture:
        architecture["n_conv_per_stage"] = [1] * stages
    architecture["n_conv_per_stage_decoder"] = [1] * (stages - 1)
    architecture["n_stages"] = stages
    settings["patch_size"], settings["batch_size"] = patch_size, 2
    file = folder / f"{name}.json"
    others = json.loads(file.read_text())["configurations"] if file.exists() else {}
    plans["configurations"], plans["plans_name"] = {**others, configuration: settings}, name
    file.write_text(json.dumps(plans))


def _write_image(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], spacing: tuple[float, ...], file: Path
) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(file))
