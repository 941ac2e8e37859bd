"""Plan, pretrain, train, predict: nnU-Net's stock commands and ours, on real scans."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
import SimpleITK as sitk
import torch

from tests.hostile import RunsCommand
from tests.integration.workspace import HIPPOCAMPUS, TINY, TRAINER, read_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.workspace import Workspace


def test_log_and_record_say_what_was_loaded(fold_folder: Path, pretrained: Path) -> None:
    log = next(fold_folder.glob("training_log_*.txt")).read_text()
    assert f"nnunet-genesis: starting from {pretrained}" in log
    assert "100 % of the encoder's parameters" in log
    record = json.loads((fold_folder / "genesis_init.json").read_text())
    assert record["sha256"] == hashlib.sha256(pretrained.read_bytes()).hexdigest()
    assert record["validation_cases_seen_in_pretraining"] == []
    assert "WARNING: pretraining saw" not in log
    assert record["transfer"]["encoder_share"] == 1
    assert record["transfer"]["tensors_unmatched"] == 0
    assert 0.2 < record["transfer"]["network_share"] < 1


def test_validation_writes_segmentations_and_probabilities(fold_folder: Path) -> None:
    summary = json.loads((fold_folder / "validation" / "summary.json").read_text())
    assert set(summary["mean"]) == {"1", "2"}
    assert len(list((fold_folder / "validation").glob("*.npz"))) == len(summary["metric_per_case"]) == 3


def test_validation_cases_were_never_seen(hippocampus: Workspace, fold_folder: Path, pretrained: Path) -> None:
    assert fold_folder.is_dir()
    splits = json.loads((hippocampus.preprocessed / HIPPOCAMPUS / "splits_final.json").read_text())
    genesis = torch.load(pretrained, weights_only=True)["genesis"]
    assert genesis["excluded_cases"] == sorted(splits[0]["val"])
    assert set(genesis["cases"]) | set(genesis["validation_cases"]) == set(splits[0]["train"])


@pytest.mark.slow
def test_prediction_validation_and_continuing_need_no_pretrained_file(
    hippocampus: Workspace, fold_folder: Path, pretrained: Path, tmp_path: Path
) -> None:
    hidden = pretrained.with_suffix(".hidden")
    pretrained.rename(hidden)
    try:
        hippocampus.run(
            "nnUNetv2_predict", "-d", "4", "-c", "3d_fullres", "-f", "0", *TINY, "-tr", TRAINER, "-device", "cpu",
            "-i", str(hippocampus.raw / HIPPOCAMPUS / "imagesTs"), "-o", str(tmp_path), "-npp", "1", "-nps", "1",
        )  # fmt: skip
        predictions = sorted(tmp_path.glob("*.nii.gz"))
        assert len(predictions) == 2
        scan = hippocampus.raw / HIPPOCAMPUS / "imagesTs" / predictions[0].name.replace(".nii.gz", "_0000.nii.gz")
        assert sitk.ReadImage(str(predictions[0])).GetSize() == sitk.ReadImage(str(scan)).GetSize()
        train = ("nnUNetv2_train", "4", "3d_fullres", "0", *TINY, "-device", "cpu", "-tr", TRAINER)
        record = (fold_folder / "genesis_init.json").read_bytes()
        assert "nnunet-genesis: starting from" not in hippocampus.run(*train, "--val")
        assert "nnunet-genesis: starting from" not in hippocampus.run(*train, "--c")
        assert (fold_folder / "genesis_init.json").read_bytes() == record
    finally:
        hidden.rename(pretrained)


@pytest.mark.slow
def test_named_file_comes_first(hippocampus: Workspace, pretrained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "weights.pth"
    copy.write_bytes(pretrained.read_bytes())
    trainer = "nnUNetTrainerGenesis_1epochs_1iters"
    output = hippocampus.run(
        "nnUNetv2_train", "4", "3d_fullres", "1", *TINY, "-device", "cpu", "-tr", trainer, "--disable_checkpointing",
        nnUNet_genesis_checkpoint=str(copy),
    )  # fmt: skip
    assert f"starting from {copy}" in output
    # Fold 0 was excluded from this pretraining, fold 1 was not.
    assert "WARNING: pretraining saw" in output
    assert "Pretrain with --exclude-fold 1" in output


@pytest.mark.slow
def test_control_loads_nothing_and_says_so(hippocampus: Workspace, pretrained: Path) -> None:
    assert pretrained.is_file()
    trainer = "nnUNetTrainerGenesis_scratch_1epochs_1iters"
    output = hippocampus.run("nnUNetv2_train", "4", "3d_fullres", "0", *TINY, "-device", "cpu", "-tr", trainer)
    assert "control run, nothing is loaded" in output
    assert "starting from" not in output


def test_stock_trainer_trains_as_before(hippocampus: Workspace, pretrained: Path) -> None:
    assert pretrained.is_file()
    process = hippocampus.start("nnUNetv2_train", "4", "3d_fullres", "3", *TINY, "-device", "cpu")
    output = read_until(process, "Epoch 0")  # a whole stock epoch would take minutes
    process.kill()
    process.communicate()
    assert "nnunet-genesis" not in output
    fold = hippocampus.results / HIPPOCAMPUS / "nnUNetTrainer__nnUNetPlansTiny__3d_fullres" / "fold_3"
    assert not (fold / "genesis_init.json").exists()


@pytest.mark.slow
def test_missing_or_unfit_files_end_the_training_with_one_message(
    hippocampus: Workspace, pretrained: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(pretrained.read_bytes()[:3000])
    hostile, trace = tmp_path / "hostile.pth", tmp_path / "code_ran"
    torch.save({"network_weights": {}, "payload": RunsCommand(trace)}, hostile)
    base = ("nnUNetv2_train", "4", "3d_fullres", "2", "-device", "cpu", "-tr", "nnUNetTrainerGenesis")
    for plans, variable, message in (
        ("nnUNetPlans", "", "genesis-pretrain-nnunet Dataset004_Hippocampus -c 3d_fullres -p nnUNetPlans"),
        ("nnUNetPlansTiny", str(tmp_path / "absent.pth"), "nnUNet_genesis_checkpoint names no file"),
        ("nnUNetPlansTiny", str(damaged), "the file is damaged or incomplete"),
        ("nnUNetPlansTiny", str(hostile), "could run code"),
        ("nnUNetPlans", str(pretrained), "of the encoder of this PlainConvUNet fits the file"),
    ):
        output = hippocampus.run(*base, "-p", plans, expect=1, nnUNet_genesis_checkpoint=variable)
        assert message in output, output[-3000:]
        assert "Traceback" not in output
    assert not trace.exists()
