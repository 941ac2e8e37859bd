"""The container's reading of ``postprocessing.pkl``: all that nnU-Net writes, and nothing that runs."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
from nnunetv2.postprocessing.remove_connected_components import (
    apply_postprocessing,
    remove_all_but_largest_component_from_segmentation,
)
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_genesis.submission.container.predict import JobError, read_postprocessing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        ({"background": 0, "Anterior": 1, "Posterior": 2}, None),
        ({"background": 0, "whole tumor": [1, 2], "tumor core": 2}, [1, 2]),
    ],
    ids=["labels", "regions"],
)
def test_what_nnunet_writes_is_read(
    labels: dict[str, int | list[int]], order: list[int] | None, tmp_path: Path
) -> None:
    manager = LabelManager(labels, regions_class_order=order)
    foreground = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    arguments = [{"labels_or_regions": manager.foreground_labels}, *({"labels_or_regions": one} for one in foreground)]
    functions = [remove_all_but_largest_component_from_segmentation] * len(arguments)
    file = tmp_path / "postprocessing.pkl"
    file.write_bytes(pickle.dumps((functions, arguments)))
    read_functions, read_arguments = read_postprocessing(file)
    assert (read_functions, read_arguments) == (functions, arguments)
    segmentation = np.random.default_rng(0).integers(0, 3, (6, 16, 16), dtype=np.uint8)
    cleaned = apply_postprocessing(segmentation, read_functions, read_arguments)
    np.testing.assert_array_equal(cleaned, apply_postprocessing(segmentation, functions, arguments))
    assert (cleaned != segmentation).any()


def calling(module: bytes, name: bytes, argument: bytes) -> bytes:
    """A pickle that calls a function, however deep in its module it lies."""

    def short_text(value: bytes) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value

    return b"\x80\x04" + short_text(module) + short_text(name) + b"\x93" + short_text(argument) + b"\x85R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (b"os", b"system"),
        (b"nnunetv2.postprocessing.remove_connected_components", b"shutil.os.system"),
        (b"numpy", b"f2py.os.system"),
        (b"nnunetv2.postprocessing.remove_connected_components", b"load_pickle"),
    ],
)
def test_nothing_else_is_called(module: bytes, name: bytes, tmp_path: Path) -> None:
    file = tmp_path / "postprocessing.pkl"
    file.write_bytes(calling(module, name, os.fsencode(f"touch {tmp_path}/run")))
    with pytest.raises(JobError, match=f"the postprocessing names {module.decode()}.{name.decode()}"):
        read_postprocessing(file)
    assert not (tmp_path / "run").exists()
