"""Labels of a dataset, and of the challenge that its predictions go to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

IGNORE = "ignore"
_LABEL_MAP = re.compile(r"(\d+)=(\d+)")


def read_labels(dataset_json: Mapping[str, Any]) -> dict[int, str]:
    """Values that a prediction may hold, and their names.

    nnU-Net never predicts its ignore label. Of regions, every value that one of them holds counts; its name lists them.

    Args:
        dataset_json: Content of nnU-Net's ``dataset.json``.
    """
    names: dict[int, list[str]] = {}
    for name, values in dataset_json["labels"].items():
        if name != IGNORE:
            for value in values if isinstance(values, (list, tuple)) else [values]:
                names.setdefault(int(value), []).append(str(name))
    return {value: ", ".join(told) for value, told in sorted(names.items())}


def has_regions(dataset_json: Mapping[str, Any]) -> bool:
    """Whether names stand for several values."""
    return any(isinstance(values, (list, tuple)) and len(values) > 1 for values in dataset_json["labels"].values())


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


def describe_labels(labels: Mapping[int, str]) -> str:
    """``0 (background), 1 (liver)``."""
    return ", ".join(f"{value} ({name})" for value, name in sorted(labels.items()))
