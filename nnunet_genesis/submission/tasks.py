"""Tasks of the Medical Segmentation Decathlon, and the one that a dataset of nnU-Net's is."""

from __future__ import annotations

import logging
import re

from nnunet_genesis.errors import SetupError

LOGGER = logging.getLogger("nnunet_genesis")
TASKS = (
    "Task01_BrainTumour", "Task02_Heart", "Task03_Liver", "Task04_Hippocampus", "Task05_Prostate", "Task06_Lung",
    "Task07_Pancreas", "Task08_HepaticVessel", "Task09_Spleen", "Task10_Colon",
)  # fmt: skip
"""Names of the ten folders (Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13, 2022)."""
_TASK = re.compile(r"Task\d{2,3}_\w+")


def task_name(dataset_name: str, told: str | None = None) -> str:
    """Name of the archive's folder.

    ``nnUNetv2_convert_MSD_dataset`` makes ``Dataset003_Liver`` of ``Task03_Liver``, or another number where the user
    wishes (``-overwrite_id``): the name decides, then, which of the ten tasks it is.

    Args:
        dataset_name: ``Dataset003_Liver``.
        told: What the user says (``--task``).

    Raises:
        SetupError: If the user's name is none.
    """
    if told is not None:
        if not _TASK.fullmatch(told):
            raise SetupError(f"--task {told}: no name of a task", mend="--task Task03_Liver")
        return told
    number, name = int(dataset_name[7:10]), dataset_name[11:]
    for task in TASKS:
        if task.split("_", 1)[1].lower() == name.lower():
            return task
    derived = f"Task{number:02d}_{name}"
    LOGGER.warning(
        "%s is none of the Decathlon's ten tasks; the folder in the archive is called %s (--task names another)",
        dataset_name,
        derived,
    )
    return derived
