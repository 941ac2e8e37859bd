"""The second stage of a cascade starts from a file of the images alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from tests.integration.workspace import HIPPOCAMPUS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.workspace import Workspace

INITIALIZE = """
import json, sys, torch
from nnunet_genesis.trainers.genesis import nnUNetTrainerGenesis
plans, dataset = (json.load(open(file)) for file in sys.argv[1:3])
plans["continue_training"] = False  # nnUNetv2_train hands its flag over in the plans
trainer = nnUNetTrainerGenesis(plans, "3d_cascade_fullres", 0, dataset, device=torch.device("cpu"))
trainer.initialize()
torch.save(trainer.network.state_dict(), sys.argv[3])
"""


@pytest.mark.slow
def test_channels_of_the_previous_stage_start_at_zero(hippocampus: Workspace, pretrained: Path, tmp_path: Path) -> None:
    folder = hippocampus.preprocessed / HIPPOCAMPUS
    plans = json.loads((folder / "nnUNetPlansTiny.json").read_text())
    plans["plans_name"] = "nnUNetPlansCascade"
    plans["configurations"]["3d_lowres"] = {**plans["configurations"]["3d_fullres"], "next_stage": "3d_cascade_fullres"}
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    done = subprocess.run(
        [sys.executable, "-c", INITIALIZE, "plans.json", str(folder / "dataset.json"), "weights.pth"],
        cwd=tmp_path, env=hippocampus.environment(nnUNet_genesis_checkpoint=str(pretrained)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 channels of the previous stage start at zero" in done.stdout
    filled = torch.load(tmp_path / "weights.pth", weights_only=True)
    source = torch.load(pretrained, weights_only=True)["network_weights"]
    for name, tensor in source.items():
        if name.startswith("encoder."):
            assert torch.equal(
                filled[name][:, :1] if tensor.ndim == 5 and tensor.shape[1] == 1 else filled[name], tensor
            )
    first = filled["encoder.stages.0.0.convs.0.conv.weight"]
    assert first.shape[1] == 3
    assert (first[:, 1:] == 0).all()
