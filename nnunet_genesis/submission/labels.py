"""Labels of a dataset: which values a prediction may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

IGNORE = "ignore"


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


def describe_labels(labels: Mapping[int, str]) -> str:
    """``0 (background), 1 (liver)``."""
    return ", ".join(f"{value} ({name})" for value, name in sorted(labels.items()))
