"""What a training began with: nnU-Net's own trainer, checkpoints and order of calls, on a small network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as nnunet_module

from nnunet_genesis import trainers
from nnunet_genesis.trainers.initialization_record import INIT_FILE, read_initialization
from nnunet_genesis.trainers.leaks import REFUSE_VARIABLE
from tests.commands import genesis
from tests.preprocessed import smooth_cases, write_dataset

PATCH = (8, 16, 16)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A preprocessed dataset that nnU-Net's trainer finds; returns its folder."""
    folder = write_dataset(tmp_path, smooth_cases(5, PATCH), PATCH, monkeypatch)
    for variable in ("nnUNet_preprocessed", "nnUNet_results"):
        if isinstance(getattr(nnunet_module, variable), str):  # read once, at import, before nnU-Net 2.8
            monkeypatch.setattr(nnunet_module, variable, str(tmp_path / variable))
    monkeypatch.setenv("nnUNet_compile", "0")
    for variable in ("nnUNet_genesis_checkpoint", "nnUNet_genesis_seed", REFUSE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    return folder


def make_trainer(dataset: Path, name: str = "nnUNetTrainerGenesis") -> Any:
    plans, description = (json.loads((dataset / file).read_text()) for file in ("nnUNetPlans.json", "dataset.json"))
    plans["continue_training"] = False  # as nnU-Net's command line hands it on
    plans["configurations"]["3d_fullres"]["batch_dice"] = False
    made = getattr(trainers, name)(plans, "3d_fullres", 0, description, torch.device("cpu"))
    made.lines = []
    made.print_to_log_file = lambda *words, **_: made.lines.append(" ".join(map(str, words)))
    return made


def start_from(dataset: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("nnUNet_genesis_checkpoint", str(weights))
    trainer = make_trainer(dataset)
    trainer.initialize()
    return trainer


@pytest.fixture
def weights(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two files of weights for the network of the plans."""
    files = (tmp_path / "a.pth", tmp_path / "b.pth")
    for seed, file in enumerate(files):
        with monkeypatch.context() as environment:
            environment.setenv("nnUNet_genesis_seed", str(seed))
            scratch = make_trainer(dataset, "nnUNetTrainerGenesis_scratch")
            scratch.initialize()
        torch.save(scratch.network.state_dict(), file)
    return files


def test_another_start_beside_a_checkpoint_does_not_change_what_that_began_with(
    dataset: Path, weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = weights
    monkeypatch.setenv("nnUNet_genesis_seed", "3")
    trainer = start_from(dataset, first, monkeypatch)
    checkpoint = Path(trainer.output_folder, "checkpoint_latest.pth")
    trainer.save_checkpoint(str(checkpoint))
    begun = json.loads(checkpoint.with_name(INIT_FILE).read_text())
    monkeypatch.setenv("nnUNet_genesis_seed", "4")
    start_from(dataset, second, monkeypatch)  # and is stopped before it saves anything
    assert json.loads(checkpoint.with_name(INIT_FILE).read_text())["file"] == str(second)
    assert read_initialization(checkpoint.parent, checkpoint) == begun

    monkeypatch.delenv("nnUNet_genesis_seed")
    continued = make_trainer(dataset)
    continued.load_checkpoint(str(checkpoint))
    assert f"nnunet-genesis: this training began from {first}" in continued.lines
    assert "nnunet-genesis: seed: 3" in continued.lines
    assert any(f"{INIT_FILE} told of another beginning ({second})" in line for line in continued.lines)
    assert json.loads(checkpoint.with_name(INIT_FILE).read_text()) == begun
    continued.save_checkpoint(str(checkpoint))
    assert read_initialization(checkpoint.parent, checkpoint) == begun


def test_checkpoints_of_early_versions_are_told_of_by_the_file(
    dataset: Path, weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start_from(dataset, weights[0], monkeypatch)
    del trainer.my_init_kwargs["genesis_init"]
    checkpoint = Path(trainer.output_folder, "checkpoint_latest.pth")
    trainer.save_checkpoint(str(checkpoint))
    continued = make_trainer(dataset)
    continued.load_checkpoint(str(checkpoint))
    assert f"nnunet-genesis: this training began from {weights[0]}" in continued.lines
    assert not any("another beginning" in line for line in continued.lines)
    assert continued.my_init_kwargs["genesis_init"]["file"] == str(weights[0])


def test_weights_that_were_replaced_before_the_first_step_end_the_training(
    dataset: Path, weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nnU-Net's -pretrained_weights does between initialisation and training."""
    for name in ("nnUNetTrainerGenesis", "nnUNetTrainerGenesis_scratch"):
        monkeypatch.setenv("nnUNet_genesis_checkpoint", str(weights[0]))
        trainer = make_trainer(dataset, name)
        trainer.initialize()
        trainer.network.load_state_dict(torch.load(weights[1]))
        with pytest.raises(SystemExit, match=rf"as nnU-Net's -pretrained_weights does: {name} would not be"):
            trainer.on_train_start()


def test_untouched_weights_begin(dataset: Path, weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    begins: list[Any] = []
    monkeypatch.setattr(nnunet_module.nnUNetTrainer, "on_train_start", lambda *of: begins.append(of))
    trainer = start_from(dataset, weights[0], monkeypatch)
    trainer.on_train_start()
    checkpoint = Path(trainer.output_folder, "checkpoint_latest.pth")
    trainer.network.load_state_dict(torch.load(weights[1]))
    trainer.save_checkpoint(str(checkpoint))
    continued = make_trainer(dataset)
    continued.load_checkpoint(str(checkpoint))
    continued.on_train_start()
    make_trainer(dataset).on_train_start()  # nnU-Net's own initialises what is not yet
    assert len(begins) == 3


def test_weights_of_a_checkpoint_are_no_replaced_ones_where_all_was_initialised_before(
    dataset: Path, weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start_from(dataset, weights[0], monkeypatch)
    checkpoint = Path(trainer.output_folder, "checkpoint_latest.pth")
    trainer.network.load_state_dict(torch.load(weights[1]))
    trainer.save_checkpoint(str(checkpoint))
    again = start_from(dataset, weights[1], monkeypatch)
    again.load_checkpoint(str(checkpoint))
    assert f"nnunet-genesis: this training began from {weights[0]}" in again.lines
    monkeypatch.setattr(nnunet_module.nnUNetTrainer, "on_train_start", lambda _: None)
    again.on_train_start()


def test_the_checkpoint_counts_where_torch_cannot_read_it_safely(
    dataset: Path, weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Torch before 2.6 refuses the numpy scalars that nnU-Net's checkpoints hold after an epoch."""
    trainer = start_from(dataset, weights[0], monkeypatch)
    trainer._best_ema = np.float64(0.5)
    checkpoint = Path(trainer.output_folder, "checkpoint_latest.pth")
    trainer.save_checkpoint(str(checkpoint))
    start_from(dataset, weights[1], monkeypatch)
    monkeypatch.setattr("nnunet_genesis.interop.safe_reading._has_safe_globals", lambda: False)
    continued = make_trainer(dataset)
    continued.load_checkpoint(str(checkpoint))
    assert f"{INIT_FILE} alone says how this training began" in caplog.text
    assert continued.lines.index(f"nnunet-genesis: this training began from {weights[0]}") > 0
    assert json.loads(checkpoint.with_name(INIT_FILE).read_text())["file"] == str(weights[0])
    continued.save_checkpoint(str(checkpoint))
    assert torch.load(checkpoint, weights_only=False)["init_args"]["genesis_init"]["file"] == str(weights[0])


@pytest.mark.parametrize("ending", ["", "__backup", "__nnUNetPlans__mine"])
def test_exported_models_do_not_name_folders_and_cases(
    dataset: Path,
    weights: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ending: str,
) -> None:
    trainer = start_from(dataset, weights[0], monkeypatch)
    trainer.my_init_kwargs["genesis_init"]["validation_cases_seen_in_pretraining"] = ["Meyer_19480203"]
    fold = Path(trainer.output_folder)
    trainer.save_checkpoint(str(fold / "checkpoint_final.pth"))
    for name in ("nnUNetPlans.json", "dataset.json"):
        shutil.copy(dataset / name, fold.parent / name.replace("nnUNetPlans", "plans"))
    model = fold.parent.rename(f"{fold.parent}{ending}")  # a copy that somebody keeps
    out = dataset.parent / "out"
    capsys.readouterr()  # what nnU-Net prints
    assert genesis("export", model, out) == 0
    (target,) = out.iterdir()
    assert capsys.readouterr().out.startswith(f"{target}\nnnUNetv2_predict_from_modelfolder -m {target} -f 0 ")
    named = [b"Meyer_19480203", str(weights[0]).encode(), b"genesis_init"]
    assert [name in (model / "fold_0" / "checkpoint_final.pth").read_bytes() for name in named] == [True] * 3
    assert [name in (target / "fold_0" / "checkpoint_final.pth").read_bytes() for name in named] == [False] * 3
