"""``genesis submit --format msd`` on predictions that exist: what is archived, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from nnunet_genesis.submission.label_maps import apply_label_map, rewrite_labels
from nnunet_genesis.submission.volumes import Library, count_colours, read_grid
from tests.commands import genesis
from tests.submission.models import write_model
from tests.submission.written import CASES, LABELS, real_hippocampus, write_blob, write_json, write_prediction

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nnUNet_raw"))
    monkeypatch.chdir(tmp_path)
    return real_hippocampus(tmp_path)


def submit(*arguments: str | Path) -> int:
    return genesis("submit", *arguments)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert submit(*arguments) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert "to mend it:" in message
    assert not list(Path.cwd().rglob("*.zip"))
    assert not list(Path.cwd().rglob("submission.json"))
    return message


def test_archive_holds_the_predictions_as_the_decathlon_names_them(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, predictions = folders
    (predictions / "plans.json").write_text("{}")  # what nnU-Net leaves beside its predictions is no prediction
    (predictions / f"{CASES[0]}.npz").write_bytes(b"")
    assert submit("4", "--format", "msd", "--predictions", predictions, "--output", "out") == 0
    archive = tmp_path / "out" / "Task04_Hippocampus.zip"
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == [f"Task04_Hippocampus/{case}.nii.gz" for case in CASES]
        opened.extractall(tmp_path / "extracted")
    for case in CASES:
        archived = tmp_path / "extracted" / "Task04_Hippocampus" / f"{case}.nii.gz"
        assert archived.read_bytes() == (predictions / f"{case}.nii.gz").read_bytes()
        image = sitk.ReadImage(str(tmp_path / "nnUNet_raw/Dataset004_Hippocampus/imagesTs" / f"{case}_0000.nii.gz"))
        assert sitk.ReadImage(str(archived)).IsSameImageGeometryAs(image)
    told = json.loads((tmp_path / "out" / "submission.json").read_text())
    assert told["task"] == "Task04_Hippocampus"
    assert told["archive"]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert told["models"] == []
    assert told["models_are"] == "what the user says, not checked"
    assert (tmp_path / "out" / "Task04_Hippocampus.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "Task04_Hippocampus.zip",
        "Task04_Hippocampus.png",
        "submission.json",
    }


def test_same_predictions_give_the_same_bytes_whenever_and_wherever(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, predictions = folders
    copies = tmp_path / "copies"
    copies.mkdir()
    for file in sorted(predictions.iterdir(), reverse=True):  # other dates, another order, other rights
        copy = shutil.copyfile(file, copies / file.name)
        copy.chmod(0o600)
    for kind in ("zip", "tar"):
        for number, folder in enumerate((predictions, copies)):
            flags = ("--archive", kind, "--output", f"{kind}{number}", "--label-map", "1=2", "2=1")
            assert submit("4", "--format", "msd", "--predictions", folder, *flags) == 0
        one, other = (tmp_path / f"{kind}{number}" / f"Task04_Hippocampus.{kind}" for number in range(2))
        assert one.read_bytes() == other.read_bytes()
    with tarfile.open(tmp_path / "tar0" / "Task04_Hippocampus.tar") as tar:
        assert tar.getnames() == [f"Task04_Hippocampus/{case}.nii.gz" for case in CASES]
        assert {(member.mtime, member.uid, member.uname, member.isfile()) for member in tar} == {(0, 0, "", True)}


def test_an_archive_is_never_replaced(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, predictions = folders
    command = ("4", "--format", "msd", "--predictions", predictions, "--output", "out")
    assert submit(*command) == 0
    before = {file: file.read_bytes() for file in Path("out").iterdir()}
    capsys.readouterr()
    assert submit(*command) == 1
    assert "is there already, and is not replaced" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in Path("out").iterdir()} == before


def test_labels_are_mapped_and_nothing_else_changes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, predictions = folders
    flags = ("--label-map", "1=2", "2=7", "--task", "Task12_Mine")
    assert submit("4", "--format", "msd", "--predictions", predictions, *flags, "--output", "out") == 0
    with zipfile.ZipFile("out/Task12_Mine.zip") as opened:
        opened.extractall(tmp_path)
    for case in CASES:
        before = sitk.ReadImage(str(predictions / f"{case}.nii.gz"))
        after = sitk.ReadImage(str(tmp_path / "Task12_Mine" / f"{case}.nii.gz"))
        voxels = sitk.GetArrayFromImage(before)
        expected = np.where(voxels == 1, 2, np.where(voxels == 2, 7, 0))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(after), expected)
        assert after.IsSameImageGeometryAs(before)
        assert after.GetPixelID() == sitk.sitkUInt8


@pytest.mark.parametrize(("largest", "kind"), [(255, np.uint8), (256, np.uint16), (9999, np.uint16)])
def test_labels_get_the_type_that_holds_the_largest(largest: int, kind: type[np.generic]) -> None:
    mapped = apply_label_map(np.array([[0, 2], [1, 2]], np.uint8), {0: 0, 1: 3, 2: largest})
    assert mapped.tolist() == [[0, largest], [3, largest]]
    assert mapped.dtype == kind


def test_merging_labels_is_told(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("4", "--format", "msd", "--predictions", folders[1], "--label-map", "2=1", "--output", "out") == 0
    assert "the label map makes one label of several" in capsys.readouterr().out
    with zipfile.ZipFile("out/Task04_Hippocampus.zip") as opened:
        voxels = gzip.decompress(opened.read(f"Task04_Hippocampus/{CASES[0]}.nii.gz"))[352:]
    assert set(voxels) == {0, 1}


def test_labels_follow_from_the_challenges_own_names(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, predictions = folders
    challenge = tmp_path / "dataset.json"
    tests = [f"./imagesTs/{case}.nii.gz" for case in CASES]
    told = {"labels": {"0": "background", "5": "anterior", "3": "posterior"}, "test": tests}
    command = ("4", "--format", "msd", "--predictions", predictions, "--task-json", challenge, "--output", "out")
    challenge.write_text(json.dumps({**told, "labels": {"0": "background", "1": "anterior", "2": "tail"}}))
    assert "labels of the dataset that the challenge does not name: Posterior" in refused(capsys, *command)
    challenge.write_text(json.dumps({**told, "test": [*tests[1:], "./imagesTs/hippocampus_002.nii.gz"]}))
    message = refused(capsys, *command)
    assert "\n    missing: hippocampus_002.nii.gz\n    not in the challenge: hippocampus_001.nii.gz\n" in message
    challenge.write_text(json.dumps(told))
    assert submit(*command) == 0
    with zipfile.ZipFile("out/Task04_Hippocampus.zip") as opened:
        voxels = np.frombuffer(gzip.decompress(opened.read(f"Task04_Hippocampus/{CASES[0]}.nii.gz"))[352:], np.uint8)
    original = sitk.GetArrayFromImage(sitk.ReadImage(str(predictions / f"{CASES[0]}.nii.gz")))
    assert {value: int((voxels == value).sum()) for value in (5, 3)} == {
        5: int((original == 1).sum()),
        3: int((original == 2).sum()),
    }


def _shift(file: Path) -> None:
    image = sitk.ReadImage(str(file))
    image.SetOrigin([place + 0.5 for place in image.GetOrigin()])
    write_prediction(file, image)


def _swap(file: Path) -> None:
    write_prediction(file, sitk.PermuteAxes(sitk.ReadImage(str(file)), [1, 0, 2]))


def _flip(file: Path) -> None:
    image = sitk.ReadImage(str(file))
    image.SetDirection([1, 0, 0, 0, 1, 0, 0, 0, 1])
    write_prediction(file, image)


def _stretch(file: Path) -> None:
    image = sitk.ReadImage(str(file))
    image.SetSpacing([1.0, 1.0, 1.0002])
    write_prediction(file, image)


def _relabel(file: Path) -> None:
    write_prediction(file, sitk.ReadImage(str(file)) * 3)


def _float(file: Path) -> None:
    write_prediction(file, sitk.ReadImage(str(file)), sitk.sitkFloat32)


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def _cut_voxels(file: Path) -> None:
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-10]))


def _write_text(file: Path) -> None:
    file.write_text("no image")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no prediction": Path.unlink,
    "its origin is (-0.5, -0.5, 1.5) mm, the image's (-1, -1, 1) mm": _shift,
    "its axes are in another order": _swap,
    "its direction is (1, 0, 0, 0, 1, 0, 0, 0, 1), the image's (-1, 0, 0, 0, -1, 0, 0, 0, 1)": _flip,
    "its spacing is (1, 1, 1.0002) mm, the image's (1, 1, 1) mm": _stretch,
    "it holds 3, 6, and dataset.json has 0 (background), 1 (Anterior), 2 (Posterior)": _relabel,
    "its voxels are float32, and labels are integers": _float,
    "the file is cut off or damaged": _truncate,
    "the file cannot be read": _write_text,
}


@pytest.mark.parametrize("expected", DAMAGES)
def test_an_unsound_prediction_is_refused(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], expected: str
) -> None:
    _, predictions = folders
    file = predictions / f"{CASES[1]}.nii.gz"
    DAMAGES[expected](file)
    message = refused(capsys, "4", "--format", "msd", "--predictions", predictions)
    assert "1 problem(s) with the predictions; nothing was written" in message
    assert f"    {CASES[1]}: " in message
    if expected != "the file cannot be read":
        assert expected in message
    else:
        assert "cannot be read" in message or "cut off or damaged" in message


def test_voxels_that_are_missing_inside_a_whole_archive_are_noticed(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, predictions = folders
    _cut_voxels(predictions / f"{CASES[0]}.nii.gz")
    assert f"    {CASES[0]}: " in refused(capsys, "4", "--format", "msd", "--predictions", predictions)


def test_all_problems_are_told_at_once(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, predictions = folders
    first, second, third = (predictions / f"{case}.nii.gz" for case in CASES)
    first.rename(predictions / "hippocampus_1.nii.gz")
    _shift(second)
    _relabel(second)
    _truncate(third)
    (predictions / "._hippocampus_004.nii.gz").write_bytes(b"left by macOS")
    message = refused(capsys, "4", "--format", "msd", "--predictions", predictions)
    assert "5 problem(s)" in message
    for problem in (
        f"{CASES[0]}: no prediction",
        f"{CASES[1]}: its origin",
        f"{CASES[1]}: it holds 3, 6",
        f"{CASES[2]}: the file is cut off",
        "hippocampus_1.nii.gz: no image of this name, one too many",
    ):
        assert f"    {problem}" in message


def test_background_alone_is_told_but_not_refused(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, predictions = folders
    file = predictions / f"{CASES[2]}.nii.gz"
    write_prediction(file, sitk.ReadImage(str(file)) * 0)
    assert submit("4", "--format", "msd", "--predictions", predictions, "--output", "out") == 0
    assert f"1 of 3 predictions hold background alone: {CASES[2]}" in capsys.readouterr().out
    assert json.loads(Path("out/submission.json").read_text())["background_alone"] == [CASES[2]]


def test_rounding_of_headers_is_forgiven(folders: tuple[Path, Path]) -> None:
    _, predictions = folders
    file = predictions / f"{CASES[0]}.nii.gz"
    image = sitk.ReadImage(str(file))
    image.SetOrigin([place + 0.004 for place in image.GetOrigin()])
    image.SetSpacing([side * (1 + 2e-5) for side in image.GetSpacing()])
    write_prediction(file, image, sitk.sitkInt16)
    assert submit("4", "--format", "msd", "--predictions", predictions) == 0
    assert Path("genesis_submission_Dataset004_Hippocampus_msd/Task04_Hippocampus.zip").is_file()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--label-map", "1:2"], "--label-map 1:2: is no pair PREDICTED=CHALLENGE"),
        (["--label-map", "1=2", "1=3"], "--label-map 1=3: names a label twice"),
        (["--label-map", "3=1"], "labels that the dataset does not have: 3"),
        (["--task", "Liver"], "--task Liver: no name of a task"),
        (["--task-json", "nowhere.json"], "--task-json: no dataset.json of the Decathlon (FileNotFoundError"),
        (["--task-json", "x", "--label-map", "1=1"], "--label-map and --task-json both"),
        (["--input-path", "mri"], "--input-path belongs to --format grand-challenge, not to msd"),
        (["--any-patch"], "--any-patch belongs to --format ssl3d"),
        (["--predictions", "nowhere"], "--predictions: no such folder"),
        (["-npp", "0"], "-npp 0: must be at least 1"),
        (["--postprocessing", "x"], "--predictions takes them as they are"),
    ],
)
def test_mistakes_in_the_call(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    assert expected in refused(capsys, "4", "--format", "msd", "--predictions", folders[1], *flags)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["ssl3d", "-tr", "nnUNetTrainer"], "-tr belongs to --format msd and grand-challenge, not to ssl3d"),
        (["ssl3d", "--no-postprocessing"], "--no-postprocessing belongs to --format msd and grand-challenge"),
        (["grand-challenge", "-device", "cpu"], "-device belongs to --format msd, not to grand-challenge"),
    ],
)
def test_flags_of_other_formats(capsys: pytest.CaptureFixture[str], flags: list[str], expected: str) -> None:
    assert submit("4", "--format", *flags) == 1
    assert expected in capsys.readouterr().err


def test_files_that_nnunet_would_leave_out_or_take_for_images_are_told(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, predictions = folders
    write_json(dataset, LABELS)
    images = dataset / "imagesTs"
    original = images / f"{CASES[0]}_0000.nii.gz"
    for name in ("hippocampus_9.nii.gz", "hippocampus_8_000.nii.gz", "hippocampus_7_0000.nii", "._a_0000.nii.gz"):
        shutil.copy(original, images / name)
    (images / "readme.txt").write_text("of no matter")
    message = refused(capsys, "4", "--format", "msd", "--predictions", predictions)
    for name in ("hippocampus_9.nii.gz", "hippocampus_8_000.nii.gz", "hippocampus_7_0000.nii"):
        assert f"    {name}: not named CASE_0000.nii.gz, so that it is no case" in message
    assert "readme" not in message
    assert "._a_0000" not in message, "nnU-Net does not read this folder"
    assert "    ._a_0000.nii.gz: a hidden file, which nnU-Net would" in refused(capsys, "4", "--format", "msd")


@pytest.mark.parametrize("changed", ["labels", "channels", "ending"])
def test_a_model_whose_outputs_mean_something_else_is_refused(
    folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: str,
) -> None:
    dataset, predictions = folders
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "nnUNet_results"))
    model = write_model(tmp_path / "nnUNet_results" / dataset.name, "nnUNetTrainer__P__3d_fullres")
    command = ("4", "--format", "msd", "-tr", "nnUNetTrainer", "-f", "0", "-device", "cpu")
    swapped = {"background": 0, "Posterior": 1, "Anterior": 2}
    write_json(
        model,
        swapped if changed == "labels" else LABELS,
        channels=2 if changed == "channels" else 1,
        ending=".nrrd" if changed == "ending" else ".nii.gz",
    )
    message = refused(capsys, *command)
    assert "the model was not trained with the dataset.json that the raw dataset has now" in message
    told = {
        "labels": "labels: the model {'background': 0, 'posterior': 1, 'anterior': 2}, the raw dataset"
        " {'background': 0, 'anterior': 1, 'posterior': 2}",
        "channels": "number of channels: the model 2, the raw dataset 1",
        "ending": "file_ending: the model .nrrd, the raw dataset .nii.gz",
    }
    assert [line.strip() for line in message.splitlines() if line.startswith("    ")] == [told[changed]]
    assert submit(*command, "--predictions", predictions, "--output", "told") == 0
    assert f"its dataset.json is not that of the raw dataset: {told[changed]}" in capsys.readouterr().out
    write_json(model, {**{name.upper(): value for name, value in LABELS.items()}, "ignore": 3})
    assert submit(*command, "--predictions", predictions, "--output", "same") == 0
    assert "its dataset.json is not" not in capsys.readouterr().out


def test_predictions_on_the_sform_of_an_image_whose_qform_differs_are_taken_and_told(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As nnU-Net's NibabelIO reads and writes them."""
    import nibabel

    dataset, predictions = folders
    file = dataset / "imagesTs" / f"{CASES[0]}_0000.nii.gz"
    image: Any = nibabel.load(file)
    voxels = np.asanyarray(image.dataobj)
    sform = np.diag([1.0, 1.0, 1.0, 1.0])
    sform[:3, 3] = 5, 6, 7
    image = type(image)(voxels, None)
    image.set_qform(np.diag([-1.0, -1.0, 1.0, 1.0]), code=1)
    image.set_sform(sform, code=2)
    nibabel.save(image, file)
    prediction: Any = nibabel.load(predictions / f"{CASES[0]}.nii.gz")
    labels = np.asanyarray(prediction.dataobj)
    nibabel.save(type(prediction)(labels, sform), predictions / f"{CASES[0]}.nii.gz")
    assert submit("4", "--format", "msd", "--predictions", predictions, "--output", "out") == 0
    assert f"qform and sform of 1 of 3 images differ, the first is {CASES[0]}" in capsys.readouterr().out
    assert json.loads(Path("out/submission.json").read_text())["qform_and_sform_differ"] == [CASES[0]]
    wrong_qform = type(prediction)(labels, sform)
    wrong_qform.set_qform(np.diag([1.0, -1.0, 1.0, 1.0]), code=1)
    sform[0, 3] += 1
    for unsound in (wrong_qform, type(prediction)(labels, sform)):
        nibabel.save(unsound, predictions / f"{CASES[0]}.nii.gz")
        assert submit("4", "--format", "msd", "--predictions", predictions, "--output", "other") == 1
        assert f"    {CASES[0]}: its " in capsys.readouterr().err


def test_labels_of_sheared_volumes_are_mapped(tmp_path: Path) -> None:
    import nibabel

    affine = np.array([[1.0, 0.3, 0, 4], [0, 1, 0, 5], [0, 0, 2, 6], [0, 0, 0, 1]])
    voxels = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    image: Any = nibabel.nifti1.Nifti1Image
    nibabel.save(image(voxels, affine), tmp_path / "before.nii.gz")
    rewrite_labels(tmp_path / "before.nii.gz", tmp_path / "after.nii.gz", {0: 0, 1: 300, 2: 1})
    after: Any = nibabel.load(tmp_path / "after.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), np.array([0, 300, 1])[voxels])
    np.testing.assert_allclose(after.affine, affine, atol=1e-6)


def test_mistakes_in_the_dataset(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    dataset, predictions = folders
    command = ("Dataset004_Hippocampus", "--format", "msd", "--predictions", predictions)
    write_json(dataset, LABELS, numTest=4)
    assert "3 cases, and" in refused(capsys, *command)
    write_json(dataset, LABELS, numTest=0)  # nobody counted them
    assert submit(*command, "--output", "uncounted") == 0
    shutil.rmtree("uncounted")
    write_json(dataset, LABELS, channels=2)
    message = refused(capsys, *command)
    assert message.count("channels 0000 of 2") == 3
    (dataset / "dataset.json").write_text("{}")
    assert "no dataset.json of nnU-Net v2" in refused(capsys, *command)
    for file in (dataset / "imagesTs").iterdir():
        file.unlink()
    write_json(dataset, LABELS)
    assert "no image named CASE_0000.nii.gz" in refused(capsys, *command)
    assert "there is no raw dataset 5" in refused(capsys, "5", *command[1:])
    assert "no DATASET is named" in refused(capsys, "--format", "msd")


def test_four_channels_and_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    dataset, predictions = tmp_path / "Dataset017_BrainTumour", tmp_path / "predicted"
    (dataset / "imagesTs").mkdir(parents=True)
    predictions.mkdir()
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    write_json(dataset, labels, channels=4, regions_class_order=[1, 2, 3])
    for channel in range(4):
        file = dataset / "imagesTs" / f"BRATS_485_{channel:04d}.nii.gz"
        write_blob(file, (8, 12, 10), 100 + channel, (1.0, 1.0, 2.0))
    write_blob(predictions / "BRATS_485.nii.gz", (8, 12, 10), 3, (1.0, 1.0, 2.0))
    assert submit("17", "--format", "msd", "--predictions", predictions, "--output", "out") == 0
    with zipfile.ZipFile("out/Task01_BrainTumour.zip") as opened:  # the name says which task it is, not the number
        assert opened.namelist() == ["Task01_BrainTumour/BRATS_485.nii.gz"]
    write_blob(predictions / "BRATS_485.nii.gz", (8, 12, 10), 4, (1.0, 1.0, 2.0))
    assert submit("17", "--format", "msd", "--predictions", predictions, "--output", "other") == 1
    assert not Path("other").exists()


def test_regions_are_not_mapped_by_their_names(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, predictions = folders
    write_json(dataset, {"background": 0, "whole": [1, 2]}, regions_class_order=[1])
    challenge = tmp_path / "dataset.json"
    challenge.write_text(json.dumps({"labels": {"0": "background", "1": "whole"}}))
    command = ("4", "--format", "msd", "--predictions", predictions, "--task-json", challenge)
    assert "labels of the dataset that the challenge does not name: they are regions" in refused(capsys, *command)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_other_volumes_become_nifti(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    dataset, predictions = tmp_path / "Dataset009_Spleen", tmp_path / "predicted"
    (dataset / "imagesTs").mkdir(parents=True)
    predictions.mkdir()
    write_json(dataset, {"background": 0, "spleen": 1}, ending=ending)
    write_blob(dataset / "imagesTs" / f"spleen_1_0000{ending}", (6, 9, 7), 200, (0.7, 0.8, 5.0))
    write_blob(predictions / f"spleen_1{ending}", (6, 9, 7), 1, (0.7, 0.8, 5.0))
    challenge = tmp_path / "challenge.json"
    challenge.write_text(json.dumps({"labels": {"0": "background", "1": "spleen"}, "test": ["./t/spleen_1.nii.gz"]}))
    command = ("9", "--format", "msd", "--predictions", predictions, "--task-json", challenge)
    assert submit(*command, "--output", "out") == 0
    with zipfile.ZipFile("out/Task09_Spleen.zip") as opened:
        opened.extractall(tmp_path)
    archived = sitk.ReadImage(str(tmp_path / "Task09_Spleen" / "spleen_1.nii.gz"))
    before = sitk.ReadImage(str(predictions / f"spleen_1{ending}"))
    assert archived.GetSpacing() == pytest.approx(before.GetSpacing())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(archived), sitk.GetArrayFromImage(before))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_flat_images_keep_their_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    from skimage import io as images

    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    dataset, predictions = tmp_path / "Dataset120_RoadSegmentation", tmp_path / "predicted"
    (dataset / "imagesTs").mkdir(parents=True)
    predictions.mkdir()
    write_json(dataset, {"background": 0, "road": 1}, channels=3, ending=ending)  # in one file, as nnU-Net has it
    generator = np.random.default_rng(0)
    images.imsave(dataset / "imagesTs" / f"img-1_0000{ending}", generator.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    prediction = generator.integers(0, 2, (20, 30), dtype=np.uint8)
    images.imsave(predictions / f"img-1{ending}", prediction, check_contrast=False)
    command = ("120", "--format", "msd", "--predictions", predictions)
    assert submit(*command, "--output", "out") == 0
    assert f"the archive will hold {ending}" in capsys.readouterr().out
    with zipfile.ZipFile("out/Task120_RoadSegmentation.zip") as opened:
        archived = images.imread(io.BytesIO(opened.read(f"Task120_RoadSegmentation/img-1{ending}")))
    np.testing.assert_array_equal(archived, prediction)
    assert submit(*command, "--output", "other", "--label-map", "1=5") == 1
    assert f"labels of {ending} files are not rewritten here" in capsys.readouterr().err
    images.imsave(predictions / f"img-1{ending}", prediction.T, check_contrast=False)
    assert submit(*command, "--output", "other") == 1
    assert "its axes are in another order" in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "size", "colours"), [(".tif", (7, 5), 3), (".tiff", (3, 7, 5), 0)])
def test_three_values_at_the_end_are_colours_where_nnunet_takes_them_for_such(
    tmp_path: Path, ending: str, size: tuple[int, ...], colours: int
) -> None:
    file = tmp_path / f"image{ending}"
    tifffile.imwrite(file, np.zeros((5, 7, 3), np.uint8))
    assert read_grid(file, Library.FLAT).size == size
    assert count_colours(file) == colours


def test_images_of_one_bit_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    dataset, predictions = tmp_path / "Dataset121_Letters", tmp_path / "predicted"
    (dataset / "imagesTs").mkdir(parents=True)
    predictions.mkdir()
    write_json(dataset, {"background": 0, "ink": 1}, ending=".png")
    page = np.random.default_rng(0).integers(0, 2, (20, 30), dtype=np.uint8)
    Image.fromarray(page.astype(bool)).save(dataset / "imagesTs" / "page_0000.png")
    Image.fromarray(page).save(predictions / "page.png")
    assert submit("121", "--format", "msd", "--predictions", predictions, "--output", "out") == 0
    assert Path("out/Task121_Letters.png").read_bytes().startswith(b"\x89PNG")
