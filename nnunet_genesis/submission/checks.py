"""Check a folder of predictions against the images that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from nnunet_genesis.errors import DataError
from nnunet_genesis.submission.geometry import compare_grids
from nnunet_genesis.submission.labels import describe_labels
from nnunet_genesis.submission.volumes import IMAGE_ENDINGS, choose_library, read_grid, read_voxels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_genesis.submission.images import TestImages

_SHOWN_VALUES = 10


def check_predictions(folder: Path, images: TestImages, labels: Mapping[int, str], *, show_progress: bool) -> None:
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
    problems = [
        f"{case}: {problem}"
        for case in tqdm(images.cases, desc="checking", disable=not show_progress)
        for problem in find_problems(folder / f"{case}{images.ending}", images.cases[case][0], labels)
    ]
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


def find_problems(file: Path, image: Path, labels: Mapping[int, str]) -> list[str]:
    """Tell what is wrong with one prediction.

    Args:
        file: The prediction.
        image: First channel of its image.
        labels: Values that it may hold.

    Returns:
        A sentence each, none where it is sound.
    """
    if not file.is_file():
        return ["no prediction"]
    try:
        library = choose_library(image)
        grid = read_grid(image, library)
        voxels, own_grid = read_voxels(file, library)
    except DataError as error:
        return [f"{error.problem} ({error.where})"]
    problems = compare_grids(grid, own_grid)
    if not np.issubdtype(voxels.dtype, np.integer):
        problems.append(f"its voxels are {voxels.dtype}, and labels are integers")
        return problems
    strange = sorted({int(value) for value in np.unique(voxels)} - set(labels))
    if strange:
        more = f" and {len(strange) - _SHOWN_VALUES} more" if len(strange) > _SHOWN_VALUES else ""
        problems.append(
            f"it holds {', '.join(map(str, strange[:_SHOWN_VALUES]))}{more}, and dataset.json has"
            f" {describe_labels(labels)}"
        )
    return problems
