"""From raw scans without labels to a segmentation model, by real commands on real scans."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis import checkpoint
from tests.integration.workspace import HIPPOCAMPUS, TINY, Workspace
from tests.real_data import real_data_folder

if TYPE_CHECKING:
    from pathlib import Path

PRETRAIN = (
    "genesis-pretrain-nnunet", HIPPOCAMPUS, *TINY, "-device", "cpu", "-np", "1", "--epochs", "1",
    "--iterations-per-epoch", "2",
)  # fmt: skip


@pytest.fixture(scope="module")
def archive(hippocampus: Workspace, fold_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scans of an archive: four nobody labelled, a validation case of fold 0 and a test case under other names."""
    assert fold_folder.is_dir(), "nnU-Net has written its splits"
    folder = tmp_path_factory.mktemp("archive")
    images = sorted((real_data_folder("hippocampus") / "images").glob("*.nii.gz"))
    for number, file in enumerate(images[50:54]):
        shutil.copy(file, folder / f"patient_{number}.nii.gz")
    splits = json.loads((hippocampus.preprocessed / HIPPOCAMPUS / "splits_final.json").read_text())
    raw = hippocampus.raw / HIPPOCAMPUS
    shutil.copy(raw / "imagesTr" / f"{splits[0]['val'][0]}_0000.nii.gz", folder / "known.nii.gz")
    shutil.copy(sorted((raw / "imagesTs").iterdir())[0], folder / "secret.nii.gz")
    return folder


def preprocess(workspace: Workspace, archive: Path, name: str, *flags: str) -> str:
    return workspace.run(
        "genesis", "preprocess-unlabeled", "-d", "4", *TINY, "-i", str(archive), "--name", name, "-np", "2", *flags
    )


def test_pool_is_learned_from_beside_the_labelled_cases_without_a_leak(
    hippocampus: Workspace, archive: Path, tmp_path: Path
) -> None:
    assert "the same voxels as" in preprocess(hippocampus, archive, "clean", "--exclude-fold", "0")
    output = tmp_path / "run"
    hippocampus.run(*PRETRAIN, "--pools", "clean", "--exclude-fold", "0", "--output", str(output))
    genesis = checkpoint.read(output / "checkpoint_final.pth")["genesis"]
    seen = {*genesis["cases"], *genesis["validation_cases"]}
    assert {"clean/patient_0", "clean/patient_3", "clean/secret"} <= seen
    assert "clean/known" not in seen
    assert {"val_loss labelled", "val_loss clean"} <= genesis["history"][0].keys()


@pytest.mark.slow
def test_trainer_warns_of_validation_and_test_scans_that_were_seen_in_a_pool(
    hippocampus: Workspace, archive: Path, tmp_path: Path
) -> None:
    preprocess(hippocampus, archive, "leaky")
    output = tmp_path / "run"
    hippocampus.run(*PRETRAIN, "--pools", "leaky", "--no-labelled", "--output", str(output))
    trainer = "nnUNetTrainerGenesis_1epochs_1iters"
    log = hippocampus.run(
        "nnUNetv2_train", "4", "3d_fullres", "0", *TINY, "-device", "cpu", "-tr", trainer, "--disable_checkpointing",
        nnUNet_genesis_checkpoint=str(output / "checkpoint_final.pth"),
    )  # fmt: skip
    assert "WARNING: pretraining saw 1 validation case(s) of fold 0" in log
    assert "WARNING: pretraining saw 1 image(s) of imagesTs" in log
    folder = hippocampus.results / HIPPOCAMPUS / f"{trainer}__nnUNetPlansTiny__3d_fullres" / "fold_0"
    record = json.loads((folder / "genesis_init.json").read_text())
    splits = json.loads((hippocampus.preprocessed / HIPPOCAMPUS / "splits_final.json").read_text())
    assert record["validation_cases_seen_in_pretraining"] == [splits[0]["val"][0]]
    assert len(record["test_cases_seen_in_pretraining"]) == 1
