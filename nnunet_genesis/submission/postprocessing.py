"""The postprocessing that ``nnUNetv2_find_best_configuration`` found for a model or an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.submission.models import TrainedModel

FILE_NAME = "postprocessing.pkl"


@dataclass(frozen=True)
class Postprocessing:
    """What the user says of it.

    Attributes:
        file: File of ``nnUNetv2_determine_postprocessing``; None looks for it beside the models.
        wanted: Whether there shall be any.
    """

    file: Path | None = None
    wanted: bool = True


POSTPROCESS_AS_FOUND = Postprocessing()
"""What happens where the user says nothing."""


def choose_postprocessing(told: Postprocessing, models: Sequence[TrainedModel]) -> Path | None:
    """The file to apply, or None.

    Raises:
        SetupError: If the user names a file that is not there, or both a file and none.
    """
    if told.file is None:
        return find_postprocessing(models) if told.wanted else None
    if not told.wanted:
        raise SetupError("--postprocessing and --no-postprocessing contradict each other", mend="give one of them")
    if not told.file.is_file():
        raise SetupError("--postprocessing: no such file", where=told.file, mend="check the path")
    return told.file


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
