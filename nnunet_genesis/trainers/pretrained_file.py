"""Which file a training starts from."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.hub import HUB_PREFIX, resolve

CHECKPOINT_VARIABLE = "nnUNet_genesis_checkpoint"


def find_pretrained_file(results_folder: Path, plans_name: str, configuration: str, fold: int | str) -> Path:
    """Find the file to start from: the environment variable first, else the one finished pretraining.

    Where a pretext was pretrained without the fold (``--exclude-fold``) and also with it, the one without counts: it
    has not seen the validation cases. One that excluded another fold never counts by itself.

    Args:
        results_folder: ``nnUNet_results/DATASET``.
        plans_name: nnU-Net plans identifier.
        configuration: nnU-Net configuration name.
        fold: The fold to train: a number or ``all``.

    Raises:
        CheckpointError: If the named file is missing, or if no or several finished pretrainings exist.
    """
    named = os.environ.get(CHECKPOINT_VARIABLE)
    if named:
        if named.startswith(HUB_PREFIX):
            return resolve(named)
        file = Path(named).expanduser()
        if not file.is_file():
            raise CheckpointError(
                f"the environment variable {CHECKPOINT_VARIABLE} names no file",
                where=file,
                mend=f"export {CHECKPOINT_VARIABLE}=/path/to/checkpoint_final.pth, or unset {CHECKPOINT_VARIABLE}",
            )
        return file
    files = checkpoint.find_finished(results_folder, plans_name, configuration)
    files += checkpoint.find_finished(results_folder, plans_name, configuration, fold)
    finished = list({checkpoint.pretext_of(file.parent.name): file for file in files}.values())
    if len(finished) == 1:
        return finished[0]
    pretrain = f"genesis-pretrain-nnunet {results_folder.name} -c {configuration} -p {plans_name}"
    if finished:
        raise CheckpointError(
            f"{len(finished)} finished pretrainings fit; which one is meant is for you to say:\n"
            + "\n".join(f"    {file}" for file in finished),
            where=results_folder,
            mend=f"export {CHECKPOINT_VARIABLE}={shlex.quote(str(finished[0]))}",
        )
    without_fold = "" if fold == "all" else f"  (with --exclude-fold {fold}: without the validation cases of this fold)"
    others = sorted(results_folder.glob(f"{checkpoint.FOLDER_PREFIX}*/checkpoint_*.pth"))
    there = "\n".join(f"    {file}" for file in others) or "    (nothing)"
    raise CheckpointError(
        f"no finished pretraining for plans {plans_name}, configuration {configuration}, fold {fold}. Pretraining"
        f" files here:\n{there}",
        where=results_folder,
        mend=f"{pretrain}{without_fold}\n  or start from another file: export {CHECKPOINT_VARIABLE}=FILE"
        "\n  or train without pretraining: -tr nnUNetTrainerGenesis_scratch",
    )
