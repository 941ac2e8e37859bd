"""Numbers from nnU-Net's files, and the verdict in words."""

import json
from pathlib import Path

import pytest

from nnunet_genesis.demo import results
from nnunet_genesis.demo.results import Comparison
from nnunet_genesis.errors import GenesisError


def _comparison(pretrained: float, scratch: float) -> Comparison:
    return Comparison("mean of both", pretrained, scratch, lowest=-0.1, highest=0.2, cases=8)


@pytest.mark.parametrize(
    ("pretrained", "scratch", "words"),
    [
        (0.60, 0.50, "the pretrained network was better"),
        (0.50, 0.60, "the pretrained network was worse"),
        (0.505, 0.50, "the two networks were level"),
        (0.50, 0.505, "the two networks were level"),
        (0.0, 0.0, "the two networks were level"),
    ],
)
def test_the_verdict_follows_the_numbers_and_stays_modest(pretrained: float, scratch: float, words: str) -> None:
    sentence = results.verdict(_comparison(pretrained, scratch))
    assert words in sentence
    assert sum(outcome in sentence for outcome in ("better", "worse", "level")) == 1
    assert f"{pretrained:.3f} pretrained, {scratch:.3f} from scratch" in sentence
    assert f"{pretrained - scratch:+.3f}" in sentence
    assert "one seed on 8 synthetic test scans proves nothing" in sentence
    assert "significan" not in sentence


def test_a_class_that_was_never_found_is_explained() -> None:
    (remark,) = results.remarks([_comparison(0.5, 0.0), _comparison(0.5, 0.4)])
    assert remark.startswith("The scratch network found nothing")
    assert results.remarks([_comparison(0.5, 0.4)]) == []


def test_networks_are_compared_scan_by_scan() -> None:
    pretrained = {"a": {"liver": 0.9, "tumour": 0.5}, "b": {"liver": 0.8, "tumour": 0.1}}
    scratch = {"b": {"liver": 0.7, "tumour": 0.3}, "a": {"liver": 0.9, "tumour": 0.1}}
    liver, tumour, both = results.compare(pretrained, scratch)
    assert (liver.name, tumour.name, both.name) == ("liver", "tumour", "mean of both")
    assert liver.pretrained == pytest.approx(0.85)
    assert liver.scratch == pytest.approx(0.8)
    assert (liver.lowest, liver.highest) == pytest.approx((0.0, 0.1))
    assert (tumour.lowest, tumour.highest) == pytest.approx((-0.2, 0.4))
    assert tumour.difference == pytest.approx(0.1)
    assert both.difference == pytest.approx(0.075)
    assert both.cases == 2


def test_networks_tested_on_different_scans_are_not_compared() -> None:
    with pytest.raises(GenesisError, match="different scans"):
        results.compare({"a": {"liver": 1.0, "tumour": 1.0}}, {"b": {"liver": 1.0, "tumour": 1.0}})


def _summary(folder: Path, tumour: float) -> Path:
    metrics = {"1": {"Dice": 0.75}, "2": {"Dice": tumour}}
    entry = {"prediction_file": "/x/test_000.nii.gz", "reference_file": "/y/test_000.nii.gz", "metrics": metrics}
    file = folder / "summary.json"
    file.write_text(json.dumps({"metric_per_case": [entry]}))
    return file


def test_dice_is_read_from_nnunets_summary(tmp_path: Path) -> None:
    assert results.read_dice(_summary(tmp_path, 0.25)) == {"test_000": {"liver": 0.75, "tumour": 0.25}}


def test_a_dice_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenesisError, match="test_000 is not a number"):
        results.read_dice(_summary(tmp_path, float("nan")))


@pytest.mark.parametrize("number", ["np.float32({})", "{}", "np.float64({})"])
def test_learning_curves_are_read_from_nnunets_log(tmp_path: Path, number: str) -> None:
    log = tmp_path / "training_log_2026_1_1_00_00_00.txt"
    epochs = [(0.4937, -0.0277, "0.6749", "0.0"), (-0.0421, -0.0855, "7.2e-01", "nan")]
    text = "These are the global plan.json settings: {'train_loss': 3}\n"
    for train, val, liver, tumour in epochs:
        text += f"2026-11-21 01:49:27.8: train_loss {train} \n2026-11-21 01:49:27.8: val_loss {val} \n"
        text += f"2026-11-21 01:49:27.8: Pseudo dice [{number.format(liver)}, {number.format(tumour)}] \n"
    log.write_text(text)
    curve = results.read_learning_curve(log)
    assert curve["train_loss"] == [0.4937, -0.0421]
    assert curve["val_loss"] == [-0.0277, -0.0855]
    assert curve["liver"] == [0.6749, 0.72]
    assert curve["tumour"] == pytest.approx([0.0, float("nan")], nan_ok=True)
