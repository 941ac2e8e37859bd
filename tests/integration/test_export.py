"""Models and weights for where this package is not: stock prediction, stock ``-pretrained_weights``."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from tests.integration.workspace import HIPPOCAMPUS, TINY, TRAINER, read_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.workspace import Workspace

PREDICT_WITHOUT_THE_PACKAGE = """
import sys
sys.modules["nnunet_genesis"] = None  # an import fails from here on
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer
assert not hasattr(nnUNetTrainer, "nnUNetTrainerGenesis")
from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder
predict_entry_point_modelfolder()
"""


@pytest.mark.slow
def test_an_exported_model_predicts_the_same_without_this_package(
    hippocampus: Workspace, fold_folder: Path, bare_python: Path, tmp_path: Path
) -> None:
    scans = str(hippocampus.raw / HIPPOCAMPUS / "imagesTs")
    settings = ("-f", "0", "-device", "cpu", "-npp", "1", "-nps", "1")
    hippocampus.run(
        "nnUNetv2_predict", "-d", "4", "-c", "3d_fullres", *TINY, "-tr", TRAINER, "-i", scans,
        "-o", str(tmp_path / "ours"), *settings,
    )  # fmt: skip
    before = (fold_folder / "checkpoint_final.pth").read_bytes()
    said = hippocampus.run("genesis", "export", str(fold_folder.parent), str(tmp_path / "exported"))
    model = tmp_path / "exported" / "nnUNetTrainer__nnUNetPlansTiny__3d_fullres"
    assert f"nnUNetv2_predict_from_modelfolder -m {model} -f 0 -i IN -o OUT" in said
    assert (fold_folder / "checkpoint_final.pth").read_bytes() == before
    again = hippocampus.run("genesis", "export", str(fold_folder.parent), str(tmp_path / "exported"), expect=1)
    assert "is there already and is not empty" in again
    predict = [str(bare_python), "-c", PREDICT_WITHOUT_THE_PACKAGE, "-m", str(model), "-i", scans]
    done = subprocess.run(
        [*predict, "-o", str(tmp_path / "theirs"), *settings],
        env=hippocampus.environment(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted((tmp_path / "ours").glob("*.nii.gz"))
    assert len(files) == 2
    for file in files:
        ours, theirs = (sitk.GetArrayFromImage(sitk.ReadImage(str(f))) for f in (file, tmp_path / "theirs" / file.name))
        np.testing.assert_array_equal(ours, theirs)


def test_stock_pretrained_weights_reads_our_file(hippocampus: Workspace, pretrained: Path) -> None:
    process = hippocampus.start(
        "nnUNetv2_train", "4", "3d_fullres", "2", *TINY, "-device", "cpu", "-pretrained_weights", str(pretrained)
    )
    output = read_until(process, "Epoch 0")  # a whole stock epoch would take minutes
    process.kill()
    process.communicate()
    assert "Loading pretrained weights from file" in output
    assert str(pretrained) in output
    assert (hippocampus.results / HIPPOCAMPUS / "nnUNetTrainer__nnUNetPlansTiny__3d_fullres" / "fold_2").is_dir()


def test_stock_pretrained_weights_fills_everything_but_the_heads(hippocampus: Workspace, pretrained: Path) -> None:
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    from nnunet_genesis.networks import build_network

    content = torch.load(pretrained, weights_only=True)
    network = build_network(content["genesis"]["architecture"], 1, 3)
    load_pretrained_weights(network, str(pretrained))
    for name, tensor in network.state_dict().items():
        if ".seg_layers." not in name:
            assert torch.equal(tensor, content["network_weights"][name]), name
    assert hippocampus.results.is_dir()


def test_inspect_says_what_a_trained_model_is_and_where_it_fits(hippocampus: Workspace, fold_folder: Path) -> None:
    file = fold_folder / "checkpoint_final.pth"
    said = hippocampus.run("genesis", "inspect", str(file), "--into", "4", *TINY)
    assert "format: nnU-Net v2 model" in said
    assert f"trainer: {TRAINER}" in said
    assert "100 % of the encoder's parameters" in said
    assert "100 %  -p nnUNetPlansTiny -c 3d_fullres" in said
    full_size = next(line for line in said.splitlines() if "-p nnUNetPlans -c 3d_fullres" in line)
    assert float(full_size.split("%")[0]) < 90


@pytest.mark.slow
def test_training_starts_from_a_model_of_nnunet_as_it_is(hippocampus: Workspace, fold_folder: Path) -> None:
    file = fold_folder / "checkpoint_final.pth"
    train = (
        "nnUNetv2_train", "4", "3d_fullres", "3", "-device", "cpu", "-tr", "nnUNetTrainerGenesis_1epochs_1iters",
        "--disable_checkpointing",
    )  # fmt: skip
    output = hippocampus.run(*train, *TINY, nnUNet_genesis_checkpoint=str(file))
    assert f"starting from {file}" in output
    assert "nnU-Net v2 model: on Dataset004_Hippocampus" in output
    assert "100 % of the encoder's parameters" in output
    refused = hippocampus.run(
        *train, *TINY, expect=1, nnUNet_genesis_checkpoint=str(file), nnUNet_genesis_minimum_share="90 %"
    )
    assert "nnUNet_genesis_minimum_share is '90 %': a share of the encoder is between 0 and 1" in refused
