"""Scans with other numbers of channels than the plans: one channel is drawn, training spreads it over all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis import checkpoint
from tests.integration.workspace import TINY, Workspace
from tests.real_data import real_data_folder

if TYPE_CHECKING:
    from pathlib import Path

FOUR = "Dataset801_FourChannels"
PRETRAIN = (
    "genesis-pretrain-nnunet", FOUR, *TINY, "-device", "cpu", "-np", "1", "--epochs", "1", "--iterations-per-epoch",
    "3", "--pretext", "universal-model", "--pools", "mixed", "--modality", "mixed=CT",
)  # fmt: skip


@pytest.fixture(scope="module")
def mixed(synthetic: Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pool: three real scans of one channel, one of two, and one channel of a case of the dataset, as a file."""
    folder = tmp_path_factory.mktemp("mixed")
    images = sorted((real_data_folder("hippocampus") / "images").glob("*.nii.gz"))
    for number, file in enumerate(images[:3]):
        shutil.copy(file, folder / f"single_{'abc'[number]}.nii.gz")
    for number, file in enumerate(images[3:5]):
        shutil.copy(file, folder / f"pair_{number:04d}.nii.gz")
    shutil.copy(synthetic.raw / FOUR / "imagesTr" / "scan_4_0002.nii.gz", folder / "known.nii.gz")
    return synthetic.run(
        "genesis", "preprocess-unlabeled", "-d", "801", *TINY, "-i", str(folder), "--name", "mixed",
        "--single-channel", "-np", "1",
    )  # fmt: skip


@pytest.mark.slow
def test_scans_of_one_and_two_channels_join_four(synthetic: Workspace, mixed: str, tmp_path: Path) -> None:
    assert "pool mixed: 6 scans" in mixed
    refused = synthetic.run(*PRETRAIN, "--output", str(tmp_path / "refused"), expect=1)
    assert "the scans of pool mixed have one channel, the plans have 4" in refused
    assert "--single-channel" in refused
    output = tmp_path / "run"
    log = synthetic.run(
        *PRETRAIN, "--single-channel", "--modality", "labelled=T1+T1ce+T2+FLAIR", "--output", str(output)
    )
    content = checkpoint.read(output / "checkpoint_final.pth")
    genesis = content["genesis"]
    seen = {*genesis["cases"], *genesis["validation_cases"]}
    assert {"mixed/single_a", "mixed/pair_0000", "mixed/pair_0001"} <= seen
    assert "mixed/known" not in seen, "a channel of one of the dataset's own cases is no new scan"
    assert "1 repeated" in log
    assert genesis["num_channels"] == 1
    assert content["network_weights"]["encoder.stages.0.0.convs.0.conv.weight"].shape[1] == 1
    assert genesis["pretext_settings"]["modalities"] == {"labelled": "T1+T1ce+T2+FLAIR", "mixed": "CT"}
    trained = synthetic.run(
        "nnUNetv2_train", "801", "3d_fullres", "0", *TINY, "-device", "cpu", "-tr",
        "nnUNetTrainerGenesis_1epochs_1iters", "--disable_checkpointing",
        nnUNet_genesis_checkpoint=str(output / "checkpoint_final.pth"),
    )  # fmt: skip
    assert "input channels 1 to 4" in trained


@pytest.mark.slow
def test_an_excluded_case_is_excluded_channel_by_channel(synthetic: Workspace, mixed: str, tmp_path: Path) -> None:
    assert mixed
    (tmp_path / "exclude.txt").write_text("scan_4\n")
    output = tmp_path / "run"
    synthetic.run(*PRETRAIN, "--single-channel", "--exclude", str(tmp_path / "exclude.txt"), "--output", str(output))
    genesis = checkpoint.read(output / "checkpoint_final.pth")["genesis"]
    assert sorted(genesis["excluded_cases"]) == ["mixed/known", "scan_4"]


@pytest.mark.slow
def test_more_modalities_than_channels_are_refused(synthetic: Workspace, mixed: str, tmp_path: Path) -> None:
    assert mixed
    refused = synthetic.run(
        *PRETRAIN, "--single-channel", "--modality", "labelled=T1+T2", "--output", str(tmp_path / "run"), expect=1
    )
    assert "--modality labelled=T1+T2: 2 modalities, the scans have 4 channel(s)" in refused
