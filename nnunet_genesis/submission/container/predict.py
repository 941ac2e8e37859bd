"""Predict one job of grand-challenge.org: read /input, write /output, with nothing but nnU-Net and without a network.

It reads ``config.json`` beside it. Everything temporary goes into the system's folder for that.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

# Read by nnU-Net when it is imported. Its other folders are for training.
os.environ.setdefault("nnUNet_compile", "0")
os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())

HERE = Path(__file__).resolve().parent
VOLUMES_IN_TIFF = "Tiff3DIO"
"""nnU-Net's reader of volumes without a grid: it takes the spacing from a .json beside them, else 1 mm."""
READABLE = (".mha", ".nii.gz", ".nii", ".tif", ".tiff", ".nrrd", ".mhd", ".png")


class JobError(Exception):
    """The input is not what the algorithm was made for."""


# All that nnU-Net's postprocessing consists of: its function, and labels, which nnU-Net keeps as numbers of numpy.
POSTPROCESSING = (
    "nnunetv2.postprocessing.remove_connected_components.remove_all_but_largest_component_from_segmentation",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)


class _Postprocessing(pickle.Unpickler):
    """Reads what ``nnUNetv2_determine_postprocessing`` wrote, and calls nothing else that a pickle may name."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in POSTPROCESSING or "." in name:
            raise JobError(f"the postprocessing names {module}.{name}, which nnU-Net's does not")
        return super().find_class(module, name)


def read_postprocessing(file: Path) -> Any:
    """Read the functions that nnU-Net found to help, and the arguments of each.

    Raises:
        JobError: If the file holds anything else.
    """
    with file.open("rb") as stream:
        return _Postprocessing(stream).load()


def find_images(folder: Path, paths: list[str]) -> list[Path]:
    """Find the image of each channel: the only one at the path of its socket, e.g. ``images/ct``.

    Raises:
        JobError: If one is missing, or there are several.
    """
    images = folder / "images"
    found = []
    for path in paths:
        files = sorted(file for file in (folder / path).glob("*") if file.name.lower().endswith(READABLE))
        if len(files) != 1:
            there = ", ".join(sorted(entry.name for entry in images.glob("*"))) or "nothing"
            raise JobError(f"{folder / path} must hold one image, and holds {len(files)}; in {images} there is {there}")
        found.append(files[0])
    return found


def read_plain(file: Path) -> Any:
    """Read voxels and grid, without the entries that other formats do not know."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(file))
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    return image


def hand_over(image: Path, target: Path) -> None:
    """Give nnU-Net an image under the name and in the format that it was trained with."""
    import SimpleITK as sitk

    ending = "".join(target.suffixes[-2:]) if target.name.endswith(".nii.gz") else target.suffix
    if image.name.lower().endswith(ending):
        shutil.copyfile(image, target)
    else:
        sitk.WriteImage(read_plain(image), str(target))


def hand_over_spacing(image: Path, target: Path) -> None:
    """Write the spacing of an image where nnU-Net's reader of volumes in TIFF looks for it.

    Raises:
        JobError: If the image tells none.
    """
    import SimpleITK as sitk

    if image.name.lower().endswith((".tif", ".tiff")):
        raise JobError(f"{image} tells no spacing, without which it cannot be resampled: it must be .mha")
    spacing = sitk.ReadImage(str(image)).GetSpacing()
    target.write_text(json.dumps({"spacing": spacing[::-1]}))


def predict(config: dict[str, Any], channels: list[Path], work: Path, device_name: str) -> Path:
    """Run all models, average them if there are several, and postprocess.

    Args:
        config: Content of config.json.
        channels: One file per channel, as nnU-Net reads them.
        work: Existing empty folder.
        device_name: "cuda" or "cpu".

    Returns:
        The segmentation, in the format that nnU-Net writes.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    several = sum(model["averaged"] for model in config["models"]) > 1
    outputs: list[Path] = []
    for number, model in enumerate(config["models"]):
        output = work / f"model_{number}"
        output.mkdir()
        outputs.append(output)
        predictor = nnUNetPredictor(device=torch.device(device_name), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(
            str(HERE / "models" / model["folder"]), model["folds"], model["checkpoint"]
        )
        previous = model["previous_stage"]
        predictor.predict_from_files_sequential(
            [[str(channel) for channel in channels]],
            [str(output / "case")],
            save_probabilities=several and model["averaged"],
            folder_with_segs_from_prev_stage=None if previous is None else str(outputs[previous]),
        )
    last = outputs[-1]
    if several:
        from nnunetv2.ensembling.ensemble import ensemble_folders

        members = [output for output, model in zip(outputs, config["models"], strict=True) if model["averaged"]]
        last = work / "ensemble"
        ensemble_folders([str(member) for member in members], str(last), num_processes=1)
    if config["postprocessing"]:
        from nnunetv2.postprocessing.remove_connected_components import apply_postprocessing_to_folder

        functions, arguments = read_postprocessing(HERE / config["postprocessing"])
        before, last = last, work / "postprocessed"
        apply_postprocessing_to_folder(
            str(before), str(last), functions, arguments, str(outputs[-1] / "plans.json"),
            str(outputs[-1] / "dataset.json"), num_processes=1,
        )  # fmt: skip
    return last / f"case{config['file_ending']}"


def write_result(segmentation: Path, image: Path, target: Path) -> None:
    """Write the segmentation as .mha, on the grid of the image.

    Raises:
        JobError: If it has another size.
    """
    import SimpleITK as sitk

    result, reference = read_plain(segmentation), sitk.ReadImage(str(image))
    if result.GetSize() != reference.GetSize():
        raise JobError(f"the segmentation has the size {result.GetSize()}, {image.name} {reference.GetSize()}")
    result.CopyInformation(reference)
    target.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(result, str(target), True)


def main() -> int:
    """Run the job; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, default=Path("/input"))
    parser.add_argument("--output", type=Path, default=Path("/output"))
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one")
    options = parser.parse_args()
    config = json.loads((HERE / "config.json").read_text())
    try:
        images = find_images(options.input, config["inputs"])
        import torch

        device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            channels = [work / f"case_{number:04d}{config['file_ending']}" for number in range(len(images))]
            for image, channel in zip(images, channels, strict=True):
                hand_over(image, channel)
            if config["image_reader_writer"] == VOLUMES_IN_TIFF:
                hand_over_spacing(images[0], work / "case.json")
            segmentation = predict(config, channels, work, device)
            name = next(images[0].name[: -len(e)] for e in READABLE if images[0].name.lower().endswith(e))
            target = options.output / config["output"] / f"{name}.mha"
            write_result(segmentation, images[0], target)
    except JobError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
