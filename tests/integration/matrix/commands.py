"""What is no training: nnUNetv2_find_best_configuration over two results folders of ours, and what it tells to run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.integration.matrix.rows import ROWS
from tests.integration.matrix.steps import check_segmentations, model_folder, pretrain, run_steps, train_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.workspace import Workspace

NAME = "commands"
TOKENS = "_1epochs_2iters"
MEMBERS = tuple(replace(ROWS[name], tokens=TOKENS) for name in ("2d", "3d_fullres"))
FOLDS = ("0", "1", "2", "3", "4")


def run_commands(workspace: Workspace) -> dict[str, str]:
    """All steps; see `run_steps`."""
    return run_steps(
        {
            "nnUNetv2_train ... -num_gpus 2 -device cpu": lambda: _refuse_two_processes(workspace),
            "nnUNetv2_train ... --npz": lambda: _train(workspace),
            "nnUNetv2_find_best_configuration": lambda: _find_best(workspace),
            "nnUNetv2_predict -f 0 1 2 3 4 --save_probabilities": lambda: _predict(workspace),
            "nnUNetv2_ensemble": lambda: _ensemble(workspace),
            "nnUNetv2_apply_postprocessing, as find_best_configuration tells": lambda: _postprocess(workspace),
        }
    )


def _refuse_two_processes(workspace: Workspace) -> str:
    """nnU-Net itself, before it looks for a trainer."""
    pretrain(workspace, MEMBERS[0])
    command = (*train_command(MEMBERS[0]), "-num_gpus", "2")
    said = workspace.run(*command, expect=1).strip().splitlines()[-1]
    assert said.startswith("AssertionError: DDP training"), said
    return f"nnU-Net refuses: {said}"


def _train(workspace: Workspace) -> str:
    for member in MEMBERS:
        file = pretrain(workspace, member)
        for fold in FOLDS:
            validation = model_folder(workspace, member) / f"fold_{fold}" / "validation"
            if not (validation / "summary.json").is_file() or not list(validation.glob("*.npz")):
                workspace.run(
                    "nnUNetv2_train", member.dataset, member.configuration, fold, "-p", member.plans,
                    "-tr", member.trainer, "-device", "cpu", "--npz",
                    nnUNet_genesis_checkpoint=str(file),
                )  # fmt: skip
    return f"{len(FOLDS)} folds of {' and '.join(member.configuration for member in MEMBERS)}"


def _find_best(workspace: Workspace) -> str:
    """Both models and their ensemble are judged, and one of the three is chosen."""
    member = MEMBERS[0]
    workspace.run(
        "nnUNetv2_find_best_configuration", member.dataset, "-c", *(each.configuration for each in MEMBERS),
        "-tr", member.trainer, "-p", member.plans, "-f", *FOLDS, "-np", "2",
    )  # fmt: skip
    information = json.loads((workspace.results / member.dataset / "inference_information.json").read_text())
    judged = sorted(information["all_results"])
    names = [model_folder(workspace, each).name for each in MEMBERS]
    assert {name for name in names if name in judged} == set(names), judged
    ensembles = [name for name in judged if name.startswith("ensemble___")]
    assert len(ensembles) == 1, judged
    cases = {file.name: file for file in (workspace.raw / member.dataset / "labelsTr").glob("*.nii.gz")}
    check_segmentations(workspace.results / member.dataset / "ensembles" / ensembles[0], cases, member.labels)
    best = information["best_model_or_ensemble"]["selected_model_or_models"]
    assert all(each["trainer"] == member.trainer for each in best)
    return f"both models and their ensemble judged, on all {len(cases)} cases"


def _predict(workspace: Workspace) -> str:
    """Each model by all of its folds; with probabilities, so that both can be joined whichever was best."""
    for member in MEMBERS:
        folder = _output(workspace, member.configuration)
        shutil.rmtree(folder, ignore_errors=True)
        workspace.run(
            "nnUNetv2_predict", "-d", member.dataset, "-i", str(_images(workspace)), "-o", str(folder), "-f", *FOLDS,
            "-tr", member.trainer, "-c", member.configuration, "-p", member.plans, "--save_probabilities",
            "-device", "cpu", "-npp", "0", "-nps", "0",
        )  # fmt: skip
        check_segmentations(folder, _references(workspace), member.labels)
        assert len(list(folder.glob("*.npz"))) == 2, f"no probabilities in {folder}"
    told = [line for line in _instructions(workspace) if line.startswith("nnUNetv2_predict ")]
    assert told
    assert all(f"-tr {MEMBERS[0].trainer} " in line for line in told), told
    return "2 images, by 5 folds of each model"


def _ensemble(workspace: Workspace) -> str:
    output = _output(workspace, "ensemble")
    shutil.rmtree(output, ignore_errors=True)
    folders = [str(_output(workspace, member.configuration)) for member in MEMBERS]
    workspace.run("nnUNetv2_ensemble", "-i", *folders, "-o", str(output), "-np", "2")
    return check_segmentations(output, _references(workspace), MEMBERS[0].labels)


def _postprocess(workspace: Workspace) -> str:
    """The very line that was told, with folders in the place of its capitals: the best model's or the ensemble's."""
    information = json.loads((workspace.results / MEMBERS[0].dataset / "inference_information.json").read_text())
    best = information["best_model_or_ensemble"]["selected_model_or_models"]
    segmentations = best[0]["configuration"] if len(best) == 1 else "ensemble"
    told = next(line for line in _instructions(workspace) if line.startswith("nnUNetv2_apply_postprocessing "))
    output = _output(workspace, "postprocessed")
    shutil.rmtree(output, ignore_errors=True)
    line = re.sub(r"\bOUTPUT_FOLDER_PP\b", str(output), told)
    line = re.sub(r"\bOUTPUT_FOLDER\b", str(_output(workspace, segmentations)), line)
    workspace.run(*shlex.split(line))
    return check_segmentations(output, _references(workspace), MEMBERS[0].labels)


def _instructions(workspace: Workspace) -> list[str]:
    return (workspace.results / MEMBERS[0].dataset / "inference_instructions.txt").read_text().splitlines()


def _output(workspace: Workspace, name: str) -> Path:
    return workspace.root / "crossvalidation" / name


def _images(workspace: Workspace) -> Path:
    return workspace.raw / MEMBERS[0].dataset / "imagesTs"


def _references(workspace: Workspace) -> dict[str, Path]:
    return {file.name.replace("_0000.nii.gz", ".nii.gz"): file for file in _images(workspace).glob("*_0000.nii.gz")}
