"""The main job on what real data looks like: four channels, anisotropic with regions, 2D with an ignore label."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.workspace import Workspace


@pytest.mark.parametrize(
    ("dataset", "configuration"),
    [("Dataset801_FourChannels", "3d_fullres"), ("Dataset802_Anisotropic", "3d_fullres"), ("Dataset803_Flat", "2d")],
)
def test_pretrain_then_train(synthetic: Workspace, dataset: str, configuration: str) -> None:
    common = ("-p", "nnUNetPlansTiny", "-device", "cpu")
    synthetic.run(
        "genesis-pretrain-nnunet", dataset, "-c", configuration, *common, "-np", "0", "--epochs", "1",
        "--iterations-per-epoch", "2",
    )  # fmt: skip
    folder = synthetic.results / dataset / f"GenesisPretraining_models-genesis__nnUNetPlansTiny__{configuration}"
    assert (folder / "restorations.png").stat().st_size > 10_000
    trainer = "nnUNetTrainerGenesis_1epochs_2iters"
    output = synthetic.run("nnUNetv2_train", dataset, configuration, "0", *common, "-tr", trainer)
    assert "100 % of the encoder's parameters" in output
    fold = synthetic.results / dataset / f"{trainer}__nnUNetPlansTiny__{configuration}" / "fold_0"
    assert json.loads((fold / "validation" / "summary.json").read_text())["metric_per_case"]
