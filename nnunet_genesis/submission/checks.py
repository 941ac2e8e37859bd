"""Check a folder of predictions against the images that they are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from nnunet_genesis.errors import DataError
from nnunet_genesis.submission.geometry import compare_grids
from nnunet_genesis.submission.labels import describe_labels
from nnunet_genesis.submission.volumes import (
    IMAGE_ENDINGS,
    Grid,
    Library,
    choose_library,
    in_lps,
    read_grid,
    read_voxels,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_genesis.submission.images import TestImages

_SHOWN_VALUES = 10


@dataclass(frozen=True)
class Verdict:
    """What a look at one prediction says.

    Attributes:
        problems: A sentence each, none where it is sound.
        is_background: Whether no voxel has a label.
        is_unreadable: Whether the prediction itself is missing, cut off or damaged.
        is_on_sform: Whether it is on the grid of its image's sform, and the qform, which SimpleITK reads, is another.
    """

    problems: list[str]
    is_background: bool = False
    is_unreadable: bool = False
    is_on_sform: bool = False


@dataclass(frozen=True)
class Remarks:
    """What is sound, and worth a look.

    Attributes:
        background_alone: Cases whose prediction has no label.
        on_sform: Cases of which qform and sform differ, see `Verdict`.
    """

    background_alone: list[str]
    on_sform: list[str]


def check_predictions(folder: Path, images: TestImages, labels: Mapping[int, str], *, show_progress: bool) -> Remarks:
    """Make sure that a folder holds one sound prediction for each image, and none beside.

    Other files than images, such as those that nnU-Net leaves beside its predictions, are left alone.

    Args:
        folder: With ``CASE`` + ending for each case.
        images: The images.
        labels: Values that a prediction may hold.
        show_progress: Whether to show a bar.

    Raises:
        DataError: Naming everything that is wrong.
    """
    verdicts = {
        case: check_prediction(folder / f"{case}{images.ending}", files[0], labels)
        for case, files in tqdm(images.cases.items(), desc="checking", disable=not show_progress)
    }
    problems = [f"{case}: {problem}" for case, verdict in verdicts.items() for problem in verdict.problems]
    expected = {f"{case}{images.ending}" for case in images.cases}
    problems += [
        f"{file.name}: no image of this name, one too many"
        for file in sorted(folder.iterdir())
        if file.name.lower().endswith(IMAGE_ENDINGS) and not file.name.startswith(".") and file.name not in expected
    ]
    if problems:
        raise DataError(
            f"{len(problems)} problem(s) with the predictions; nothing was written:\n"
            + "\n".join(f"    {problem}" for problem in problems),
            where=folder,
            mend=f"predict these cases of {images.folder} again (or remove what is too many), and run this again",
        )
    return Remarks(
        [case for case, verdict in verdicts.items() if verdict.is_background],
        [case for case, verdict in verdicts.items() if verdict.is_on_sform],
    )


def check_prediction(file: Path, image: Path, labels: Mapping[int, str]) -> Verdict:
    """Tell what is wrong with one prediction.

    Args:
        file: The prediction.
        image: First channel of its image.
        labels: Values that it may hold.
    """
    if not file.is_file():
        return Verdict(["no prediction"], is_unreadable=True)
    try:
        library = choose_library(image)
        grid = read_grid(image, library)
    except DataError as error:
        return Verdict([f"{error.problem} ({error.where})"])
    try:
        voxels, own_grid = read_voxels(file, library)
    except DataError as error:
        return Verdict([f"{error.problem} ({error.where})"], is_unreadable=True)
    problems = compare_grids(grid, own_grid)
    is_on_sform = bool(problems) and _is_on_sform(own_grid, image, library)
    if is_on_sform:
        problems = []
    if not np.issubdtype(voxels.dtype, np.integer):
        return Verdict([*problems, f"its voxels are {voxels.dtype}, and labels are integers"])
    values = {int(value) for value in np.unique(voxels)}
    strange = sorted(values - set(labels))
    if strange:
        more = f" and {len(strange) - _SHOWN_VALUES} more" if len(strange) > _SHOWN_VALUES else ""
        problems.append(
            f"it holds {', '.join(map(str, strange[:_SHOWN_VALUES]))}{more}, and dataset.json has"
            f" {describe_labels(labels)}"
        )
    return Verdict(problems, is_background=values == {0}, is_on_sform=is_on_sform)


def _is_on_sform(grid: Grid, image: Path, library: Library) -> bool:
    """Whether a prediction's grid is that of its image's sform, where SimpleITK reads the image's qform.

    nnU-Net's nibabel readers take the sform from the image and write it alone; SimpleITK takes the image's qform where
    both are there, unless the sform is the scanner's.

    Args:
        grid: Of the prediction, read by SimpleITK.
        image: The image.
        library: What reads both.
    """
    if library is not Library.SIMPLEITK or not image.name.lower().endswith((".nii", ".nii.gz")):
        return False
    try:
        return not compare_grids(in_lps(read_grid(image, Library.NIBABEL)), grid)
    except DataError:
        return False
