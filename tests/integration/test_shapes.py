"""The main job on what real data looks like: four channels, anisotropic with regions, 2D with an ignore label."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from tests.integration.workspace import Workspace


@pytest.mark.parametrize(
    ("prepared", "dataset", "configuration"),
    [
        ("synthetic", "Dataset801_FourChannels", "3d_fullres"),
        pytest.param("other_shapes", "Dataset802_Anisotropic", "3d_fullres", marks=pytest.mark.slow),
        pytest.param("other_shapes", "Dataset803_Flat", "2d", marks=pytest.mark.slow),
    ],
)
def test_pretrain_then_train(request: pytest.FixtureRequest, prepared: str, dataset: str, configuration: str) -> None:
    workspace: Workspace = request.getfixturevalue(prepared)
    common = ("-p", "nnUNetPlansTiny", "-device", "cpu")
    workspace.run(
        "genesis-pretrain-nnunet", dataset, "-c", configuration, *common, "-np", "0", "--epochs", "1",
        "--iterations-per-epoch", "2",
    )  # fmt: skip
    folder = workspace.results / dataset / f"GenesisPretraining_models-genesis__nnUNetPlansTiny__{configuration}"
    assert (folder / "restorations.png").stat().st_size > 10_000
    trainer = "nnUNetTrainerGenesis_1epochs_2iters"
    output = workspace.run("nnUNetv2_train", dataset, configuration, "0", *common, "-tr", trainer)
    assert "100 % of the encoder's parameters" in output
    fold = workspace.results / dataset / f"{trainer}__nnUNetPlansTiny__{configuration}" / "fold_0"
    assert json.loads((fold / "validation" / "summary.json").read_text())["metric_per_case"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "configuration", "num_axes"),
    [
        ("Dataset801_FourChannels", "3d_fullres", 3),
        ("Dataset802_Anisotropic", "3d_fullres", 3),
        ("Dataset803_Flat", "2d", 2),
    ],
)
def test_masks_follow_the_strides_of_the_plans(
    other_shapes: Workspace, dataset: str, configuration: str, num_axes: int
) -> None:
    other_shapes.run(
        "genesis-pretrain-nnunet", dataset, "-c", configuration, "-p", "nnUNetPlansTiny", "-device", "cpu", "-np", "0",
        "--epochs", "1", "--iterations-per-epoch", "2", "--pretext", "masked-genesis",
    )  # fmt: skip
    folder = other_shapes.results / dataset / f"GenesisPretraining_masked-genesis__nnUNetPlansTiny__{configuration}"
    genesis = torch.load(folder / "checkpoint_final.pth", weights_only=True)["genesis"]
    plans = json.loads((other_shapes.preprocessed / dataset / "nnUNetPlansTiny.json").read_text())
    strides = plans["configurations"][configuration]["architecture"]["arch_kwargs"]["strides"]
    block = genesis["pretext_settings"]["block"]
    assert block == [math.prod(stage[axis] for stage in strides) for axis in range(num_axes)]
    assert max(block) > 1
    assert (folder / "restorations.png").stat().st_size > 10_000
