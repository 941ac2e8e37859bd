"""The test images of a raw dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import DataError, SetupError, printable
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.plans_checks import check_dataset_json, is_plain_name
from nnunet_genesis.pretraining.unlabeled.raw_datasets import find_raw_dataset
from nnunet_genesis.submission.volumes import FLAT_ENDINGS, IMAGE_ENDINGS, count_colours

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MEND = "nnUNetv2_convert_MSD_dataset -i FOLDER, or write it as nnU-Net documents its format"
_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)


@dataclass(frozen=True)
class TestImages:
    """``imagesTs`` of a raw dataset, or one case to try a model on.

    Attributes:
        dataset_name: E.g. ``Dataset003_Liver``.
        folder: Where the images are.
        dataset_json: Content of the raw dataset's ``dataset.json``.
        ending: Their file ending, which predictions have, too.
        cases: Name of each case to its channels' files, sorted; one file holds all colours of a flat image.
    """

    __test__ = False  # no class of tests

    dataset_name: str
    folder: Path
    dataset_json: Mapping[str, Any]
    ending: str
    cases: Mapping[str, tuple[Path, ...]]

    def archived_name(self, case: str) -> str:
        """Name of a case's prediction in an archive: volumes become NIfTI there, flat images stay what they are."""
        return f"{case}{self.ending if self.ending.endswith(FLAT_ENDINGS) else '.nii.gz'}"


def find_test_images(dataset_name_or_id: str, *, read_by_nnunet: bool = True) -> TestImages:
    """Find the images that a submission is about.

    Args:
        dataset_name_or_id: The raw dataset.
        read_by_nnunet: Whether nnU-Net is going to read this folder: it takes hidden files for images, too.

    Raises:
        SetupError: If the dataset, its dataset.json or its imagesTs is missing or empty.
        DataError: If a case lacks a channel, if a file is none that nnU-Net would take for an image, or if there are
            not as many cases as dataset.json tells (``numTest``).
    """
    dataset = find_raw_dataset(dataset_name_or_id)
    dataset_json = _read_dataset_json(dataset)
    folder = dataset / "imagesTs"
    ending = str(dataset_json["file_ending"])
    found = _list_cases(folder, ending)
    if not found:
        raise SetupError(
            f"no image named CASE_0000{ending}", where=folder, mend="put the challenge's test images into it"
        )
    problems = [f"{printable(case)}: no name that an archive can hold" for case in found if not is_plain_name(case)]
    problems += _incomplete(found, dataset_json)
    problems += _not_images(folder, ending)
    problems += _hidden_images(folder, ending) if read_by_nnunet else []
    told_cases = dataset_json.get("numTest")
    if isinstance(told_cases, int) and told_cases not in (0, len(found)):
        problems.append(f"{len(found)} cases, and {dataset / 'dataset.json'} tells of {told_cases} (numTest)")
    if problems:
        raise DataError(
            "the test images cannot be used:\n" + "\n".join(f"    {problem}" for problem in problems),
            where=folder,
            mend="copy the missing files, rename or remove odd ones, or correct dataset.json",
        )
    return TestImages(dataset.name, folder, dataset_json, ending, found)


def find_example(dataset_name_or_id: str, case: str | None) -> TestImages:
    """Find one image to try a model on: of imagesTs, which challenges often keep to themselves, else of imagesTr.

    Args:
        dataset_name_or_id: The raw dataset.
        case: Its name; None takes the first.

    Raises:
        SetupError: If the dataset or its dataset.json is missing, or if there is no such case.
        DataError: If the case lacks a channel.
    """
    dataset = find_raw_dataset(dataset_name_or_id)
    dataset_json = _read_dataset_json(dataset)
    ending = str(dataset_json["file_ending"])
    parts = {part: _list_cases(dataset / part, ending) for part in ("imagesTs", "imagesTr")}
    holding = [part for part, cases in parts.items() if cases and (case is None or case in cases)]
    if not holding:
        names = [name for cases in parts.values() for name in cases]
        raise SetupError(
            f"no image named {case or 'CASE'}_0000{ending} in imagesTs or imagesTr"
            if case is None or not names
            else f"--example {case}: no such case in imagesTs or imagesTr",
            where=dataset,
            mend=f"--example {names[0]}" if names else "put one scan into imagesTr: the container is tried on it",
        )
    cases = parts[holding[0]]
    name = min(cases) if case is None else case
    problems = _incomplete({name: cases[name]}, dataset_json)
    if problems:
        raise DataError(problems[0], where=dataset / holding[0], mend="copy the missing files, or --example ANOTHER")
    return TestImages(dataset.name, dataset / holding[0], dataset_json, ending, {name: cases[name]})


def _read_dataset_json(dataset: Path) -> dict[str, Any]:
    file = dataset / "dataset.json"
    try:
        dataset_json: dict[str, Any] = read_json(file)
        str(dataset_json["file_ending"])
        len(read_channel_names(dataset_json))
        dict(dataset_json["labels"])
        check_dataset_json(dataset_json, file, _MEND)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"no dataset.json of nnU-Net v2 ({type(error).__name__}: {error})",
            where=file,
            mend=_MEND,
        ) from error
    return dataset_json


def _list_cases(folder: Path, ending: str) -> dict[str, tuple[Path, ...]]:
    """Name of each case to its channels' files, sorted; none where there is no such folder."""
    found: dict[str, list[Path]] = {}
    for image in sorted(folder.glob(f"*{ending}")):
        told = _CHANNEL.fullmatch(image.name.removesuffix(ending))
        if told and not image.name.startswith("."):
            found.setdefault(told[1], []).append(image)
    return {case: tuple(files) for case, files in found.items()}


def _not_images(folder: Path, ending: str) -> list[str]:
    """Files that somebody may take for test images, and that would be none."""
    images = (file for file in sorted(folder.iterdir()) if file.name.lower().endswith(IMAGE_ENDINGS))
    return [
        f"{printable(file.name)}: not named CASE_0000{ending}, so that it is no case"
        for file in images
        if not file.name.startswith(".")
        and not (file.name.endswith(ending) and _CHANNEL.fullmatch(file.name.removesuffix(ending)))
    ]


def _hidden_images(folder: Path, ending: str) -> list[str]:
    return [
        f"{printable(file.name)}: a hidden file, which nnU-Net would take for an image"
        for file in sorted(folder.glob(f".*{ending}"))
    ]


def _incomplete(cases: Mapping[str, tuple[Path, ...]], dataset_json: Mapping[str, Any]) -> list[str]:
    channels, ending = len(read_channel_names(dataset_json)), str(dataset_json["file_ending"])
    told = []
    for case, files in cases.items():
        numbers = [int(file.name.removesuffix(ending)[-4:]) for file in files]
        if numbers != list(range(channels)) and not _is_colour_image(files, numbers, channels):
            there = ", ".join(f"{number:04d}" for number in numbers)
            told.append(f"{printable(case)}: channels {there} of {channels}")
    return told


def _is_colour_image(files: tuple[Path, ...], numbers: list[int], channels: int) -> bool:
    """Whether one file holds all channels: nnU-Net keeps red, green and blue together."""
    return numbers == [0] and channels > 1 and count_colours(files[0]) == channels
