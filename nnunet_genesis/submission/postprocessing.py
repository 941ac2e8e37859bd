"""The postprocessing that ``nnUNetv2_find_best_configuration`` found for a model or an ensemble."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.submission.models import TrainedModel

FILE_NAME = "postprocessing.pkl"


def find_postprocessing(models: Sequence[TrainedModel]) -> Path | None:
    """The file of these very models and folds, where there is one.

    nnU-Net writes it into ``MODEL/crossval_results_folds_0_1_2_3_4`` or
    ``nnUNet_results/DATASET/ensembles/ensemble___MODEL___MODEL___0_1_2_3_4``.
    """
    folds = "_".join(models[0].folds)
    if len(models) == 1:
        candidates = [models[0].folder / f"crossval_results_folds_{folds}"]
    else:
        ensembles = models[0].folder.parent / "ensembles"
        candidates = [
            ensembles / "___".join(["ensemble", *(model.name for model in order), folds])
            for order in permutations(models)
        ]
    return next((folder / FILE_NAME for folder in candidates if (folder / FILE_NAME).is_file()), None)
