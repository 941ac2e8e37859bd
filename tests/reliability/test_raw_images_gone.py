"""A run that is continued where its dataset's raw images are not at hand knows the scans that it began with."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
import torch

from nnunet_genesis import checkpoint
from tests.preprocessed import DATASET
from tests.reliability.small_run import quick_pictures, run, when_told, write_cases

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def facts(file: Path) -> dict[str, Any]:
    told: dict[str, Any] = torch.load(file, weights_only=True)["genesis"]
    return told


def test_keys_of_raw_images_outlive_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_pictures(monkeypatch)
    cases = write_cases(tmp_path, monkeypatch)
    raw = tmp_path / "nnUNet_raw" / DATASET
    (raw / "imagesTr").mkdir(parents=True)
    shutil.copy(cases.parent / "dataset.json", raw)
    generator = np.random.default_rng(0)
    for number in range(12):
        image = sitk.GetImageFromArray(generator.normal(size=(10, 24, 24)).astype(np.float32))
        sitk.WriteImage(image, str(raw / "imagesTr" / f"case_{number:03d}_0000.nii.gz"))
    output = tmp_path / "output"
    with when_told("epoch 1:", partial(os.kill, os.getpid(), signal.SIGTERM)):
        assert run(output) == 75
    before = facts(output / checkpoint.LATEST_NAME)
    assert len(before["scans"]) == 12
    shutil.rmtree(raw)
    assert run(output, "--c") == 0
    after = facts(output / checkpoint.FINAL_NAME)
    assert after["scans"] == before["scans"]
    assert after["sources"] == before["sources"]
