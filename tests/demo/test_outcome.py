"""Report and pictures of a finished demonstration."""

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.figure import Figure

from nnunet_genesis.checkpoint import folder_name
from nnunet_genesis.demo import dataset, settings
from nnunet_genesis.demo.commands import environment
from nnunet_genesis.demo.outcome import write_outcome
from nnunet_genesis.demo.pipeline import TRAINERS, demo_commands, predictions_folder
from nnunet_genesis.errors import GenesisError

PICTURES = ("overlay.png", "learning_curves.png", "restorations.png", "pretraining.png")
LOG = ": train_loss 0.5 \n: val_loss {loss} \n: Pseudo dice [np.float32(0.6), np.float32({dice})] \n"


@pytest.fixture(scope="module")
def raw_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    dataset.write_scans(folder, folder / "archive", seed=0, counts={"labelled": 0, "unlabelled": 0, "test": 2})
    return folder


@pytest.fixture
def finished(tmp_path: Path, raw_dataset: Path) -> Path:
    """Return a folder as it is once all commands have run, with a control that missed every tumour."""
    output = tmp_path / "demo_report"
    data = output / "data"
    raw = data / "nnUNet_raw" / settings.DATASET
    shutil.copytree(raw_dataset, raw)
    for network, dice in (("pretrained", 1.0), ("scratch", 0.0)):
        _write_predictions(raw / "labelsTs", predictions_folder(data, network), tumour_dice=dice)
    results = data / "nnUNet_results" / settings.DATASET
    for index, trainer in enumerate(TRAINERS.values()):
        fold = results / f"{trainer}__{settings.PLANS}__{settings.CONFIGURATION}" / "fold_0"
        fold.mkdir(parents=True)
        (fold / "training_log_1.txt").write_text(LOG.format(loss=index, dice=0.1) * 3)
    pretraining = results / folder_name("models-genesis", settings.PLANS, settings.CONFIGURATION, settings.FOLD)
    pretraining.mkdir()
    for name in ("restorations.png", "progress.png"):
        figure = Figure(figsize=(1, 1))
        figure.text(0, 0, name)
        figure.savefig(pretraining / name)
    return output


def _write_predictions(labels: Path, folder: Path, tumour_dice: float) -> None:
    folder.mkdir(parents=True)
    entries = []
    for file in sorted(labels.iterdir()):
        truth: Any = sitk.ReadImage(str(file))
        found = truth if tumour_dice else truth > 0
        sitk.WriteImage(found, str(folder / file.name))
        metrics = {"1": {"Dice": 0.9}, "2": {"Dice": tumour_dice}}
        entries.append({"prediction_file": str(folder / file.name), "metrics": metrics})
    (folder / "summary.json").write_text(json.dumps({"metric_per_case": entries}))


def _write(output: Path) -> str:
    steps, variables = demo_commands(output / "data", seed=5), environment(output / "data")
    return write_outcome(output, 5, steps, variables, {"plan": 60.0, "pretrain": 120.0})


def test_the_report_holds_table_pictures_commands_and_verdict(finished: Path) -> None:
    verdict = _write(finished)
    assert "the pretrained network was better" in verdict
    page = (finished / "report.html").read_text(encoding="utf-8")
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(data) for data in embedded] == [(finished / name).read_bytes() for name in PICTURES]
    assert "http" not in page
    text = (finished / "report.md").read_text(encoding="utf-8")
    assert "| tumour | 1.000 | 0.000 | +1.000 | +1.000 | +1.000 |" in text
    assert "| liver | 0.900 | 0.900 | +0.000 | +0.000 | +0.000 |" in text
    assert "The scratch network found nothing of the tumour" in text
    assert "| together | 3.0 min |" in text
    assert all(f"]({name})" in text for name in PICTURES)
    for step in demo_commands(finished / "data", seed=5):
        assert step.line() in text
    assert text.index(f"{settings.PLANS}.json: patch") < text.index("nnUNetv2_preprocess")
    assert verdict in text
    content = json.loads((finished / "results.json").read_text())
    assert content["verdict"] == verdict
    assert content["learning_curves"]["scratch"]["val_loss"] == [1.0, 1.0, 1.0]
    assert content["dice"]["scratch"]["test_001"] == {"liver": 0.9, "tumour": 0.0}


def test_the_overlay_shows_the_outlines_of_each_network(finished: Path) -> None:
    _write(finished)
    picture = finished / "overlay.png"
    both = picture.read_bytes()
    predictions = finished / "data" / "predictions"
    for file in (predictions / "pretrained").glob("*.nii.gz"):
        shutil.copyfile(predictions / "scratch" / file.name, file)
    _write(finished)
    assert picture.read_bytes() != both


def test_a_missing_training_log_is_told(finished: Path) -> None:
    for log in finished.rglob("training_log_1.txt"):
        log.unlink()
    with pytest.raises(GenesisError, match=r"training_log_\*\.txt"):
        _write(finished)


def test_a_network_that_found_nothing_can_still_be_drawn(finished: Path) -> None:
    for file in (finished / "data" / "predictions" / "scratch").glob("*.nii.gz"):
        image: Any = sitk.ReadImage(str(file))
        empty = sitk.GetImageFromArray(np.zeros_like(sitk.GetArrayFromImage(image)))
        sitk.WriteImage(empty, str(file))
    _write(finished)
    assert (finished / "overlay.png").stat().st_size > 0
