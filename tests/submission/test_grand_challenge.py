"""``genesis submit --format grand-challenge``: what the folder holds, and what its scripts refuse."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from skimage import io

from nnunet_genesis.submission.container import check_output, predict
from nnunet_genesis.submission.requirements import installed_from_elsewhere, is_part_of, pin_requirements
from tests.commands import genesis
from tests.submission.models import write_model
from tests.submission.written import write_blob, write_json

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

PATHS = ("--input-path", "images/t1", "--input-path", "images/flair-mri", "--output-path", "images/brain-tumour")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results folder of a dataset with two channels and one test image."""
    for room in ("nnUNet_raw", "nnUNet_results"):
        monkeypatch.setenv(room, str(tmp_path / room))
    monkeypatch.chdir(tmp_path)
    dataset = tmp_path / "nnUNet_raw" / "Dataset017_Brain"
    (dataset / "imagesTs").mkdir(parents=True)
    write_json(dataset, {"background": 0, "tumour": 1}, channels=2)
    for channel in range(2):
        write_blob(dataset / "imagesTs" / f"case_1_{channel:04d}.nii.gz", (6, 8, 10), 50 + channel, (1.0, 2.0, 3.0))
    folder = tmp_path / "nnUNet_results" / "Dataset017_Brain"
    folder.mkdir(parents=True)
    return folder


def submit(*arguments: str) -> int:
    return genesis("submit", "17", "--format", "grand-challenge", "--output", "out", *arguments)


def test_folder_holds_all_that_the_image_needs(results: Path, tmp_path: Path) -> None:
    source = write_model(results, "nnUNetTrainerGenesis_warmup__P__3d_fullres", folds=("0", "1", "2", "3", "4"))
    assert submit(*PATHS, "-f", "0", "3") == 0
    out = tmp_path / "out"
    config = json.loads((out / "app" / "config.json").read_text())
    assert (config["inputs"], config["output"]) == (["images/t1", "images/flair-mri"], "images/brain-tumour")
    assert config["labels"] == [0, 1]
    (model,) = config["models"]
    assert model["folder"] == "model_0/nnUNetTrainer__P__3d_fullres"
    files = sorted((out / "app" / "models").rglob("*.pth"))
    assert [file.parent.name for file in files] == ["fold_0", "fold_3"]
    content = torch.load(files[0], weights_only=True)
    assert content["trainer_name"] == "nnUNetTrainer"
    assert content["optimizer_state"] is None
    assert torch.equal(content["network_weights"]["weight"], torch.full((3,), float(len(source.name))))
    dockerfile = (out / "Dockerfile").read_text().splitlines()
    assert dockerfile.index("USER user") < dockerfile.index('ENTRYPOINT ["python", "/opt/app/predict.py"]')
    assert not any("@" in line for line in dockerfile)
    example = out / "test" / "input" / "images" / "flair-mri" / "example.mha"
    image = results.parents[1] / "nnUNet_raw" / "Dataset017_Brain" / "imagesTs" / "case_1_0001.nii.gz"
    given, original = (sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in (example, image))
    np.testing.assert_array_equal(given, original)
    for script in ("test_run.sh", "save.sh"):
        subprocess.run(["bash", "-n", str(out / script)], check=True)
        assert (out / script).stat().st_mode & 0o111
    assert "--network none" in (out / "test_run.sh").read_text()
    assert json.loads((out / "submission.json").read_text())["models"][0]["trainer"] == "nnUNetTrainerGenesis_warmup"
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert submit(*PATHS, "-f", "0") == 1
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_requirements_are_those_of_this_environment() -> None:
    lines = pin_requirements("nnunetv2")
    pinned = dict(line.split("==") for line in lines)
    for name in ("nnunetv2", "numpy", "simpleitk", "dynamic-network-architectures", "batchgenerators", "blosc2"):
        assert pinned[name] == version(name)
    assert pinned["torch"] == version("torch").split("+")[0]
    assert not [name for name in pinned if name.startswith(("nvidia-", "nnunet-genesis", "pytest"))]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (PATHS[2:], "1 --input-path, and the dataset has 2 channel(s): channel 0, channel 1"),
        (PATHS[:4], "no --output-path"),
        ((*PATHS[:5], "brain-tumour"), "--output-path brain-tumour: no path of a socket for images"),
        (("--input-path", "images/../x", *PATHS[2:]), "--input-path images/../x: no path of a socket"),
        ((*PATHS[:2], *PATHS[:2], *PATHS[4:]), "two channels have the same --input-path"),
        ((*PATHS, "--example", "case_2"), "--example case_2: no such case"),
        ((*PATHS, "-tr", "nnUNetTrainerOfSomebody"), "is neither nnU-Net's nor ours"),
        ((*PATHS, "--postprocessing", "nowhere.pkl", "-tr", "nnUNetTrainer"), "--postprocessing: no such file"),
        ((*PATHS, "--postprocessing", "x", "--no-postprocessing", "-tr", "nnUNetTrainer"), "contradict each other"),
        ((*PATHS, "--task", "Task01_X"), "--task belongs to --format msd"),
    ],
)
def test_mistakes(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], expected: str
) -> None:
    write_model(results, "nnUNetTrainer__P__3d_fullres")
    write_model(results, "nnUNetTrainerOfSomebody__P__3d_fullres")
    assert submit(*flags, "-f", "0") == 1
    message = capsys.readouterr().err
    assert expected in message
    assert "to mend it:" in message
    assert not list(tmp_path.glob("*out*"))


def test_paths_may_be_copied_with_what_is_around_them(results: Path, tmp_path: Path) -> None:
    write_model(results, "nnUNetTrainer__P__3d_fullres")
    inputs = ("--input-path", "/input/images/t1/0f3a.MHA", "--input-path", "./images/flair-mri/<uuid>.[mha|tif]")
    assert submit(*inputs, "--output-path", "/images/brain-tumour/", "-f", "0") == 0
    config = json.loads((tmp_path / "out" / "app" / "config.json").read_text())
    assert (config["inputs"], config["output"]) == (["images/t1", "images/flair-mri"], "images/brain-tumour")


def test_a_challenge_that_keeps_its_test_images_is_tried_on_a_training_image(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(results, "nnUNetTrainer__P__3d_fullres")
    dataset = results.parents[1] / "nnUNet_raw" / "Dataset017_Brain"
    (dataset / "imagesTs").rename(dataset / "imagesTr")
    (dataset / "imagesTr" / "case_0_0000.nii.gz").write_bytes(b"another case, not whole")
    assert submit(*PATHS, "-f", "0") == 1
    assert "case_0: channels 0000 of 2" in capsys.readouterr().err
    assert submit(*PATHS, "-f", "0", "--example", "case_1") == 0
    assert json.loads((tmp_path / "out" / "submission.json").read_text())["example"] == "case_1"
    shutil.rmtree(dataset / "imagesTr")
    assert submit(*PATHS, "-f", "0") == 1
    message = capsys.readouterr().err
    assert "no image named CASE_0000.nii.gz in imagesTs or imagesTr" in message
    assert "-i FOLDER" not in message


@pytest.mark.parametrize("damage", ["sheared", "cut off"])
def test_an_example_that_cannot_be_handed_over_is_told_of(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    import nibabel

    write_model(results, "nnUNetTrainer__P__3d_fullres")
    image = results.parents[1] / "nnUNet_raw" / "Dataset017_Brain" / "imagesTs" / "case_1_0001.nii.gz"
    if damage == "sheared":
        affine = np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        nifti: Any = nibabel.nifti1.Nifti1Image
        nibabel.save(nifti(np.zeros((4, 5, 6), np.uint8), affine), image)
    else:
        image.write_bytes(image.read_bytes()[:100])
    assert submit(*PATHS, "-f", "0") == 1
    message = capsys.readouterr().err
    assert "the example cannot be handed over as .mha" in message
    assert str(image) in message
    assert "--example ANOTHER_CASE" in message
    assert not list(tmp_path.glob("*out*"))


def test_a_model_of_other_labels_is_refused(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(results, "nnUNetTrainer__P__3d_fullres")
    write_json(model, {"background": 0, "edema": 1}, channels=2)
    assert submit(*PATHS, "-f", "0") == 1
    assert "labels: the model {'background': 0, 'edema': 1}, the raw dataset" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class TrainerOfThisFile:
    """In no file of nnU-Net's release."""


def test_what_the_package_index_does_not_have_is_known() -> None:
    assert is_part_of("nnunetv2", nnUNetTrainer)
    assert not is_part_of("nnunetv2", TrainerOfThisFile)
    elsewhere = installed_from_elsewhere(["nnunet-genesis==0", "numpy==0"])
    assert [text.partition(" (")[0] for text in elsewhere] == ["nnunet-genesis"]


def test_trainers_of_nnunet_keep_their_names_and_cascades_their_order(results: Path, tmp_path: Path) -> None:
    write_model(results, "nnUNetTrainer_250epochs__P__3d_lowres")
    write_model(results, "nnUNetTrainer_250epochs__P__3d_cascade_fullres", previous="3d_lowres")
    assert submit(*PATHS, "-f", "0", "-c", "3d_cascade_fullres") == 0
    first, second = json.loads((tmp_path / "out" / "app" / "config.json").read_text())["models"]
    assert first["folder"] == "model_0/nnUNetTrainer_250epochs__P__3d_lowres"
    assert (first["previous_stage"], first["averaged"]) == (None, False)
    assert (second["previous_stage"], second["averaged"]) == (0, True)


def test_a_trainer_whose_name_only_begins_like_ours_is_not_taken_for_it(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(results, "nnUNetTrainerGenesisWide__P__3d_fullres")
    assert submit(*PATHS, "-f", "0", "-tr", "nnUNetTrainerGenesisWide") == 1
    assert "the trainer nnUNetTrainerGenesisWide is neither nnU-Net's nor ours" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_entry_point_hands_images_over_in_the_format_of_the_dataset(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.25))
    image.SetOrigin((7.0, -3.0))
    sitk.WriteImage(image, str(tmp_path / "photo.mha"))
    predict.hand_over(tmp_path / "photo.mha", tmp_path / "case_0000.png")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "case_0000.png"))), array)
    predict.write_result(tmp_path / "case_0000.png", tmp_path / "photo.mha", tmp_path / "out" / "photo.mha")
    result = sitk.ReadImage(str(tmp_path / "out" / "photo.mha"))
    assert (result.GetSpacing(), result.GetOrigin()) == ((0.5, 0.25), (7.0, -3.0))
    sitk.WriteImage(sitk.GetImageFromArray(array.T), str(tmp_path / "turned.png"))
    with pytest.raises(predict.JobError, match=r"the segmentation has the size \(3, 4\)"):
        predict.write_result(tmp_path / "turned.png", tmp_path / "photo.mha", tmp_path / "out" / "other.mha")
    (tmp_path / "images" / "t1-mri").mkdir(parents=True)
    with pytest.raises(predict.JobError, match=r"must hold one image, and holds 0; in .* there is t1-mri"):
        predict.find_images(tmp_path, ["images/ct"])
    for name in ("a.mha", "b.mha"):
        shutil.copy(tmp_path / "photo.mha", tmp_path / "images" / "t1-mri" / name)
    with pytest.raises(predict.JobError, match="holds 2"):
        predict.find_images(tmp_path, ["images/t1-mri"])


def write_flat(results: Path, ending: str, array: npt.NDArray[np.uint8], reader: str, channels: int) -> Path:
    """One test image of a flat format in place of the others, and a model of its dataset; returns the image."""
    images = results.parents[1] / "nnUNet_raw" / "Dataset017_Brain" / "imagesTs"
    for file in images.iterdir():
        file.unlink()
    write_json(images.parent, {"background": 0, "tumour": 1}, channels=channels, ending=ending)
    image = images / f"case_1_0000{ending}"
    (tifffile.imwrite if ending.startswith(".tif") else io.imsave)(image, array)
    model = write_model(results, "nnUNetTrainer__P__3d_fullres")
    plans = json.loads((model / "plans.json").read_text())
    (model / "plans.json").write_text(json.dumps({**plans, "image_reader_writer": reader}))
    return image


@pytest.mark.parametrize("ending", [".tif", ".tiff"])
def test_volumes_in_tiff_keep_their_spacing_on_the_way_to_nnunet(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (5, 7, 9), dtype=np.uint8)
    image = write_flat(results, ending, voxels, "Tiff3DIO", channels=1)
    image.with_name("case_1.json").write_text(json.dumps({"spacing": [3.0, 0.5, 0.25]}))
    assert submit("--input-path", "images/mri", "--output-path", "images/tumour", "-f", "0") == 0
    example = tmp_path / "out" / "test" / "input" / "images" / "mri" / "example.mha"
    assert sitk.ReadImage(str(example)).GetSpacing() == (0.25, 0.5, 3.0)
    predict.hand_over(example, tmp_path / f"case_0000{ending}")
    predict.hand_over_spacing(example, tmp_path / "case.json")
    for file in (image, tmp_path / f"case_0000{ending}"):
        given, properties = Tiff3DIO().read_images([str(file)])
        np.testing.assert_array_equal(given, voxels[None])
        assert list(properties["spacing"]) == [3.0, 0.5, 0.25]
    image.with_name("case_1.json").write_text('{"spacing": [3.0]}')
    assert (
        genesis(
            "submit",
            "17",
            "--format",
            "grand-challenge",
            "--output",
            "other",
            "--input-path",
            "images/mri",
            "--output-path",
            "images/tumour",
            "-f",
            "0",
        )
        == 1
    )
    assert "no spacing of a volume" in capsys.readouterr().err
    with pytest.raises(predict.JobError, match="tells no spacing"):
        predict.hand_over_spacing(image, tmp_path / "case.json")


def test_colours_are_one_file_and_one_socket(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    image = write_flat(results, ".png", pixels, "NaturalImage2DIO", channels=3)
    three = [word for name in "rgb" for word in ("--input-path", f"images/{name}")]
    assert submit(*three, "--output-path", "images/road", "-f", "0") == 1
    assert "3 --input-path, and the dataset has 1 channel(s)" in capsys.readouterr().err
    assert submit("--input-path", "images/photo", "--output-path", "images/road", "-f", "0") == 0
    example = tmp_path / "out" / "test" / "input" / "images" / "photo" / "example.mha"
    predict.hand_over(example, tmp_path / "case_0000.png")
    for file in (image, tmp_path / "case_0000.png"):
        given, _ = NaturalImage2DIO().read_images([str(file)])
        np.testing.assert_array_equal(given[:, 0], pixels.transpose(2, 0, 1))
    io.imsave(image, pixels[..., 0])
    assert submit("--input-path", "images/photo", "--output-path", "images/road", "-f", "0") == 1
    assert "case_1: channels 0000 of 3" in capsys.readouterr().err


def test_output_is_checked_against_the_input(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"inputs": ["images/ct"], "output": "images/liver", "labels": [0, 1]}))
    given, made = tmp_path / "in" / "images" / "ct", tmp_path / "out" / "images" / "liver"
    given.mkdir(parents=True)
    assert "must hold images/liver/NAME.mha" in check_output.find_problems(config, tmp_path / "in", tmp_path / "out")[0]
    made.mkdir(parents=True)
    write_blob(given / "scan.mha", (6, 8, 10), 90, (1.0, 2.0, 3.0))
    write_blob(made / "scan.mha", (6, 8, 10), 1, (1.0, 2.0, 3.0))
    assert check_output.find_problems(config, tmp_path / "in", tmp_path / "out") == []
    sound = sitk.ReadImage(str(made / "scan.mha"))
    moved, turned = sitk.Image(sound), sitk.Image(sound)
    moved.SetOrigin((0.0, 0.0, 0.5))
    turned.SetDirection((0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    for unsound, words in (
        (moved, "its origin is (0.0, 0.0, 0.5)"),
        (turned, "its direction is (0.0, 1.0, "),
        (sitk.Cast(sound, sitk.sitkFloat32), "its voxels are 32-bit float"),
    ):
        sitk.WriteImage(unsound, str(made / "scan.mha"))
        (problem,) = check_output.find_problems(config, tmp_path / "in", tmp_path / "out")
        assert problem.startswith(words)
    write_blob(made / "scan.mha", (6, 8, 10), 2, (1.0, 2.0, 3.5))
    problems = check_output.find_problems(config, tmp_path / "in", tmp_path / "out")
    assert [problem.split(" is ")[0] for problem in problems[:1]] == ["its spacing"]
    assert problems[1] == "it holds [2], and the dataset has [0, 1]"
    (made / "scan.mha").rename(made / "other.mha")
    write_blob(made / "other.mha", (6, 8, 9), 1, (1.0, 2.0, 3.0))
    problems = check_output.find_problems(config, tmp_path / "in", tmp_path / "out")
    assert [problem.split(" is ")[0] for problem in problems] == ["it", "its size"]
