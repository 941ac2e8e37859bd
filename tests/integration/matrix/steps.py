"""What is done for a row, and what must be there afterwards; each step returns the text of its cell."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from tests.integration.matrix.datasets import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.matrix.rows import Row
    from tests.integration.workspace import Workspace

ENCODER = re.compile(r"([\d.]+) % of the encoder's parameters")
ADAPTED = re.compile(r"adapted: .*: (.+?) *$", flags=re.MULTILINE)
LOSS = re.compile(r"train_loss (\S+)")
FAILS = "fails: "
"""How the cell of a step that failed begins."""
_PROGRAM = str(Path(__file__).with_name("two_processes.py"))


def train_command(row: Row, fold: int = 0) -> tuple[str, ...]:
    common = (row.dataset, row.configuration, str(fold), "-p", row.plans, "-tr", row.trainer)
    if row.processes > 1:
        return ("python", _PROGRAM, *common, "-num_gpus", str(row.processes))
    return ("nnUNetv2_train", *common, "-device", "cpu")


def model_folder(workspace: Workspace, row: Row, configuration: str = "") -> Path:
    name = f"{row.trainer}__{row.plans}__{configuration or row.configuration}"
    return workspace.results / row.dataset / name


def pretrain(workspace: Workspace, row: Row) -> Path:
    """Pretrain once what the row starts from."""
    prepare(workspace, row.dataset)
    folder = f"GenesisPretraining_models-genesis__{row.plans}__{row.pretraining}__without_fold_0"
    file = workspace.results / row.dataset / folder / "checkpoint_final.pth"
    if not file.is_file():
        workspace.run(
            "genesis-pretrain-nnunet", row.dataset, "-c", row.pretraining, "-p", row.plans, "-device", "cpu",
            "-np", "0", "--epochs", "1", "--iterations-per-epoch", "2", "--exclude-fold", "0",
        )  # fmt: skip
    return file


def start(workspace: Workspace, row: Row) -> str:
    """Train until the second epoch has begun, kill, and return the log."""
    file = pretrain(workspace, row)
    if row.configuration == "3d_cascade_fullres":
        _train_the_stage_before(workspace, row)
    shutil.rmtree(model_folder(workspace, row) / "fold_0", ignore_errors=True)
    named = {"nnUNet_genesis_checkpoint": str(file)} if row.pretrained_in else {}
    process = workspace.start(*train_command(row), "--npz", new_session=True, **named)
    try:
        # The file, which the first of two processes writes alone; what both print is mixed.
        while "Epoch 1" not in (log := _read_log(workspace, row)) and process.poll() is None:
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    assert "Epoch 1" in log, f"training ended with {process.returncode}:\n{output}"
    return log


def loaded(log: str) -> str:
    """The share of the encoder that the log tells, and how tensors of other shapes were made to fit."""
    if "control run, nothing is loaded" in log:
        return "none"
    found = ENCODER.search(log)
    assert found, f"the log does not say what was loaded:\n{log}"
    return "; ".join([f"{found[1]} %", *ADAPTED.findall(log)])


def trained(log: str) -> str:
    losses = [float(loss) for loss in LOSS.findall(log)]
    assert len(losses) == 1, f"losses in the log of one epoch: {losses}"
    assert math.isfinite(losses[0]), f"the loss of the first epoch is {losses[0]}"
    return "epoch 0"


def continued(workspace: Workspace, row: Row) -> str:
    """`--c` to the end, without a pretrained file named, with probabilities."""
    output = workspace.run(*train_command(row), "--npz", "--c")
    assert "starting from" not in output, "the continued training read a pretrained file"
    epochs = [int(number) for number in re.findall(r"Epoch (\d+) *$", _read_log(workspace, row), flags=re.MULTILINE)]
    assert epochs == list(range(1, row.epochs)), f"epochs of the continued training: {epochs}"
    fold = model_folder(workspace, row) / "fold_0"
    assert (fold / "checkpoint_final.pth").is_file(), "checkpoint_final.pth is not there"
    return f"epochs 1 to {row.epochs - 1}" if row.epochs > 2 else "epoch 1"


def probabilities(workspace: Workspace, row: Row) -> str:
    """The .npz files that the training's own validation left."""
    folder = model_folder(workspace, row) / "fold_0" / "validation"
    files = sorted(folder.glob("*.npz"))
    assert len(files) == len(list(folder.glob("*.nii.gz"))) > 0, f"{len(files)} .npz files"
    for file in files:
        values = np.load(file)["probabilities"]
        expected = (row.heads, *_shape(workspace.raw / row.dataset / "labelsTr" / f"{file.stem}.nii.gz"))
        assert values.shape == expected, f"{file.name} is {values.shape}, not {expected}"
        assert np.isfinite(values).all(), f"{file.name} holds values that are no numbers"
        assert values.min() >= 0, f"{file.name} holds {values.min()}"
        assert values.max() <= 1.001, f"{file.name} holds {values.max()}"
    return f"{len(files)} x {row.heads} maps"


def validated(workspace: Workspace, row: Row, *flags: str) -> str:
    """A validation of its own writes the segmentations and the summary anew."""
    folder = model_folder(workspace, row) / "fold_0" / "validation"
    shutil.rmtree(folder)
    workspace.run(*train_command(row), *flags)
    assert (folder / "summary.json").is_file(), "summary.json is not there"
    cases = [file.name for file in folder.glob("*.nii.gz")]
    images = workspace.raw / row.dataset / "labelsTr"
    return check_segmentations(folder, {name: images / name for name in cases}, row.labels)


def predicted(workspace: Workspace, row: Row) -> str:
    images = workspace.raw / row.dataset / "imagesTs"
    output = workspace.root / "predicted" / row.name.replace(" ", "_")
    shutil.rmtree(output, ignore_errors=True)
    before: tuple[str, ...] = ()
    if row.configuration == "3d_cascade_fullres":
        _predict(workspace, row, "3d_lowres", images, output.with_name("previous_stage"))
        before = ("-prev_stage_predictions", str(output.with_name("previous_stage")))
    _predict(workspace, row, row.configuration, images, output, *before)
    names = {file.name[: -len("_0000.nii.gz")] + ".nii.gz": file for file in images.glob("*_0000.nii.gz")}
    return check_segmentations(output, names, row.labels)


def check_segmentations(folder: Path, references: dict[str, Path], labels: tuple[int, ...]) -> str:
    """Every image has a segmentation of its shape, with the labels of the dataset and no others."""
    assert references, f"no segmentation in {folder}"
    found = {file.name for file in folder.glob("*.nii.gz")}
    assert found == set(references), f"segmentations {sorted(found)} of {sorted(references)}"
    for name, reference in references.items():
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name)))
        assert array.shape == _shape(reference), f"{name} is {array.shape}, not {_shape(reference)}"
        strange = set(np.unique(array).tolist()) - set(labels)
        assert not strange, f"{name} holds the labels {sorted(strange)}"
    return f"{len(references)} images" if len(references) > 1 else "1 image"


def _read_log(workspace: Workspace, row: Row) -> str:
    """What the latest command wrote into its file."""
    files = sorted((model_folder(workspace, row) / "fold_0").glob("training_log_*.txt"), key=os.path.getmtime)
    return files[-1].read_text() if files else ""


def _train_the_stage_before(workspace: Workspace, row: Row) -> None:
    """Each fold of the stage before segments its validation cases for the next one."""
    stage, cases = "3d_lowres", workspace.raw / row.dataset / "labelsTr"
    file = pretrain(workspace, replace(row, configuration=stage, pretrained_in=""))
    for fold in range(5):
        if not (model_folder(workspace, row, stage) / f"fold_{fold}" / "validation" / "summary.json").is_file():
            workspace.run(
                "nnUNetv2_train", row.dataset, stage, str(fold), "-p", row.plans, "-tr", row.trainer, "-device", "cpu",
                nnUNet_genesis_checkpoint=str(file),
            )  # fmt: skip
    handed_over = model_folder(workspace, row, stage) / "predicted_next_stage" / row.configuration
    expected = {file.name.removesuffix(".nii.gz") for file in cases.glob("*.nii.gz")}
    assert {file.name.split(".")[0] for file in handed_over.iterdir()} == expected


def _predict(workspace: Workspace, row: Row, configuration: str, images: Path, output: Path, *more: str) -> None:
    workspace.run(
        "nnUNetv2_predict", "-d", row.dataset, "-c", configuration, "-f", "0", "-p", row.plans, "-tr", row.trainer,
        "-device", "cpu", "-i", str(images), "-o", str(output), "-npp", "0", "-nps", "0", *more,
    )  # fmt: skip


def _shape(file: Path) -> tuple[int, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return tuple(reversed(reader.GetSize()))


def run_row(workspace: Workspace, row: Row) -> dict[str, str]:
    """All steps of a row; a step that fails has the reason in its cell, and those after it were not run."""
    log = ""

    def begin() -> str:
        nonlocal log
        log = start(workspace, row)
        return trained(log)

    steps: dict[str, Callable[[], str]] = {
        "trains": begin,
        "encoder loaded": lambda: loaded(log),
        "`--c`": lambda: continued(workspace, row),
        "`--npz`": lambda: probabilities(workspace, row),
        "`--val`": lambda: validated(workspace, row, "--val"),
        "`--val_best`": lambda: validated(workspace, row, "--val", "--val_best"),
        "predicts": lambda: predicted(workspace, row),
    }
    return run_steps(steps)


def run_steps(steps: dict[str, Callable[[], str]]) -> dict[str, str]:
    """Run steps in their order up to the first that fails; its cell tells why."""
    cells: dict[str, str] = {}
    for column, step in steps.items():
        cells[column] = _attempt(step)
        if cells[column].startswith(FAILS):
            break
    return cells


def _attempt(step: Callable[[], str]) -> str:
    try:
        return step()
    except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"{error}\n")
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # A command that fails says why at its end.
        return FAILS + (lines[-1] if " ended with " in lines[0] else lines[0])
