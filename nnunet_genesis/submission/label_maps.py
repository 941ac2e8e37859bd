"""What becomes of a dataset's labels in a challenge that numbers them otherwise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.submission.labels import describe_labels, has_regions, read_labels
from nnunet_genesis.submission.volumes import Library, choose_library

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from nnunet_genesis.submission.images import TestImages

_LABEL_MAP = re.compile(r"(\d{1,4})=(\d{1,4})")


def find_label_map(images: TestImages, words: Sequence[str], task_json: Path | None) -> dict[int, int]:
    """The challenge's value of every label of a dataset.

    Args:
        images: The test images, and the dataset.json beside them.
        words: ``PREDICTED=CHALLENGE`` pairs, or none.
        task_json: The challenge's own ``dataset.json``: its labels are compared by name, its test images by file name.

    Raises:
        SetupError: If both are told, or labels do not fit.
        DataError: If the test images are others than the challenge's.
    """
    if words and task_json:
        raise SetupError("--label-map and --task-json both tell the challenge's labels", mend="use one of them")
    if task_json is None:
        return parse_label_map(words, read_labels(images.dataset_json))
    try:
        challenge = read_json(task_json)
        names = {str(int(value)): str(name) for value, name in challenge["labels"].items()}
        tests = {Path(str(test)).name for test in challenge.get("test", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SetupError(
            f"--task-json: no dataset.json of the Decathlon ({type(error).__name__}: {error})",
            where=task_json,
            mend="give the file in the folder that was downloaded, e.g. Task03_Liver/dataset.json",
        ) from error
    own = {images.archived_name(case) for case in images.cases}
    if tests and tests != own:
        raise DataError(
            "\n    ".join(
                [
                    "the test images are not those of the challenge:",
                    *(f"missing: {name}" for name in sorted(tests - own)),
                    *(f"not in the challenge: {name}" for name in sorted(own - tests)),
                ]
            ),
            where=images.folder,
            mend=f"put the images that {task_json} lists into it",
        )
    return map_labels_by_name(images.dataset_json, names, task_json)


def parse_label_map(words: Sequence[str], labels: Mapping[int, str]) -> dict[int, int]:
    """Read ``PREDICTED=CHALLENGE`` pairs; labels that are not named stay as they are.

    Args:
        words: E.g. ``["1=2", "2=1"]``.
        labels: Values of the dataset.

    Returns:
        One entry for each label of the dataset.

    Raises:
        SetupError: If a word is no such pair, or names a label that the dataset does not have, or one twice.
    """
    told: dict[int, int] = {}
    for word in words:
        found = _LABEL_MAP.fullmatch(word)
        if found is None or int(found[1]) in told:
            raise SetupError(
                f"--label-map {word}: " + ("names a label twice" if found else "is no pair PREDICTED=CHALLENGE"),
                mend="--label-map 1=2 2=1",
            )
        told[int(found[1])] = int(found[2])
    unknown = sorted(set(told) - set(labels))
    if unknown:
        raise SetupError(
            f"--label-map names labels that the dataset does not have: {', '.join(map(str, unknown))}; it has"
            f" {describe_labels(labels)}",
            mend="--label-map with these on the left of =",
        )
    return {value: told.get(value, value) for value in labels}


def map_labels_by_name(dataset_json: Mapping[str, Any], challenge: Mapping[str, str], file: Path) -> dict[int, int]:
    """Find the challenge's value of every label by its name, whatever the case of its letters.

    Args:
        dataset_json: nnU-Net's.
        challenge: Value to name, as in the ``labels`` of the challenge's own dataset.json.
        file: The latter, for the message.

    Raises:
        SetupError: If a name is not among those of the challenge.
    """
    labels = read_labels(dataset_json)
    values = {str(name).strip().lower(): int(value) for value, name in challenge.items()}
    unknown = [name for name in labels.values() if name.strip().lower() not in values]
    if unknown or has_regions(dataset_json):
        raise SetupError(
            f"labels of the dataset that the challenge does not name: {', '.join(unknown) or 'they are regions'};"
            f" the challenge has {describe_labels({int(value): name for value, name in challenge.items()})}",
            where=file,
            mend="tell what becomes of each label: --label-map " + " ".join(f"{value}=?" for value in labels if value),
        )
    return {value: values[name.strip().lower()] for value, name in labels.items()}


def apply_label_map(voxels: npt.NDArray[np.generic], label_map: Mapping[int, int]) -> npt.NDArray[np.generic]:
    """Replace labels; the type stays, unless a value needs a wider one.

    Args:
        voxels: Integers that are keys of the map.
        label_map: Predicted to challenge's.
    """
    table = np.zeros(max(label_map) + 1, dtype=np.uint8 if max(label_map.values()) < 256 else np.uint16)
    for predicted, wanted in label_map.items():
        table[predicted] = wanted
    return table[voxels.astype(np.int64)]


def rewrite_labels(file: Path, target: Path, label_map: Mapping[int, int]) -> None:
    """Write a segmentation anew as NIfTI, with other labels on the same grid.

    Args:
        file: A volume.
        target: New ``.nii.gz``.
        label_map: Predicted to challenge's.
    """
    library = choose_library(file)
    if library is Library.NIBABEL:  # sheared axes
        import nibabel

        before: Any = nibabel.load(file)
        voxels = apply_label_map(np.asanyarray(before.dataobj), label_map)
        header = before.header.copy()
        header.set_data_dtype(voxels.dtype)
        nibabel.save(type(before)(voxels, before.affine, header), target)
        return
    import SimpleITK as sitk

    image = sitk.ReadImage(str(file))
    after = sitk.GetImageFromArray(apply_label_map(sitk.GetArrayFromImage(image), label_map))
    after.CopyInformation(image)
    sitk.WriteImage(after, str(target), True)
