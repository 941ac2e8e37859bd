"""A trained model that stock nnU-Net predicts with, where this package is not installed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from nnunet_genesis import checkpoint
from nnunet_genesis._discovery import BASE_NAME, is_genesis_name
from nnunet_genesis.errors import SetupError
from nnunet_genesis.folders import refuse_used_folder
from nnunet_genesis.interop.safe_reading import read_safely
from nnunet_genesis.nnunet_folders import FINAL_CHECKPOINT
from nnunet_genesis.trainers.initialization_record import RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STOCK_TRAINER = "nnUNetTrainer"
_FOLDER_FILES = ("plans.json", "dataset.json", "dataset_fingerprint.json")
_FOLD_CHECKPOINTS = (FINAL_CHECKPOINT, "checkpoint_best.pth")


def export_model(model_folder: Path, out: Path) -> Path:
    """Copy a model, under the name of nnU-Net's own trainer; its network and its weights stay as they are.

    Our trainers build nnU-Net's network and predict as nnU-Net does: only their name keeps stock nnU-Net from loading
    the model. Unfinished folds and what is not needed for prediction (logs, validation, optimizer state, results of
    cross-validation and its postprocessing) are left out.

    Args:
        model_folder: ``nnUNet_results/DATASET/nnUNetTrainerGenesis...__PLANS__CONFIGURATION``.
        out: Folder to put ``nnUNetTrainer__PLANS__CONFIGURATION`` into; that must not exist.

    Returns:
        The new model folder.

    Raises:
        SetupError: If the folder holds no finished model of ours, or the target is in use.
        CheckpointError: If a checkpoint cannot be read safely.
    """
    trainer, separator, rest = model_folder.name.partition("__")
    if not separator or not is_genesis_name(trainer):
        raise SetupError(
            f"'{model_folder.name}' is no model of {BASE_NAME}: stock nnU-Net reads it as it is, or it is none",
            where=model_folder,
            mend=f"give nnUNet_results/DATASET/{BASE_NAME}__PLANS__CONFIGURATION",
        )
    finished = sorted(file.parent for file in model_folder.glob(f"fold_*/{_FOLD_CHECKPOINTS[0]}"))
    checkpoints = [fold / name for fold in finished for name in _FOLD_CHECKPOINTS if (fold / name).is_file()]
    missing = [name for name in _FOLDER_FILES[:2] if not (model_folder / name).is_file()]
    if missing or not checkpoints:
        raise SetupError(
            f"the model is not finished: there is no {missing[0] if missing else f'fold_*/{FINAL_CHECKPOINT}'}",
            where=model_folder,
            mend="finish its training: nnUNetv2_train ... --c",
        )
    target = out / f"{STOCK_TRAINER}__{rest}"
    copy_for_prediction(checkpoints, target, STOCK_TRAINER)
    return target


def copy_for_prediction(checkpoints: Sequence[Path], target: Path, trainer: str) -> None:
    """Copy what prediction needs of a model.

    Args:
        checkpoints: Files in ``fold_*`` of one model folder.
        target: New model folder.
        trainer: Name of the trainer that the checkpoints shall tell.

    Raises:
        SetupError: If the target is in use.
        CheckpointError: If a checkpoint cannot be read safely.
    """
    refuse_used_folder(target, "the export", mend="give another OUT, or delete this folder")
    for file in checkpoints:
        content = read_safely(file)
        content["trainer_name"] = trainer
        content["optimizer_state"], content["grad_scaler_state"] = None, None
        if isinstance(arguments := content.get("init_args"), dict):
            arguments.pop(RECORD_KEY, None)  # names folders and cases, which may be people's
        copy = target / file.parent.name / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write(copy, content)
    model_folder = checkpoints[0].parents[1]
    for name in _FOLDER_FILES:
        if (model_folder / name).is_file():
            shutil.copy2(model_folder / name, target / name)
