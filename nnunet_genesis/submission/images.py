"""The test images of a raw dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import DataError, SetupError, printable
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.plans_checks import check_dataset_json, is_plain_name
from nnunet_genesis.pretraining.unlabeled.raw_datasets import find_raw_images
from nnunet_genesis.submission.volumes import count_colours

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MEND = "nnUNetv2_convert_MSD_dataset -i FOLDER, or write it as nnU-Net documents its format"
_CHANNEL = re.compile(r"(.+)_(\d{4})", re.DOTALL)


@dataclass(frozen=True)
class TestImages:
    """``imagesTs`` of a raw dataset.

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


def find_test_images(dataset_name_or_id: str) -> TestImages:
    """Find the images that a submission is about.

    Raises:
        SetupError: If the dataset, its dataset.json or its imagesTs is missing or empty.
        DataError: If a case lacks a channel, or if there are not as many cases as dataset.json tells (``numTest``).
    """
    name, folder = find_raw_images(dataset_name_or_id, "imagesTs")
    file = folder.parent / "dataset.json"
    try:
        dataset_json = read_json(file)
        ending, channels = dataset_json["file_ending"], len(read_channel_names(dataset_json))
        dict(dataset_json["labels"])
        check_dataset_json(dataset_json, file, _MEND)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"no dataset.json of nnU-Net v2 ({type(error).__name__}: {error})",
            where=file,
            mend=_MEND,
        ) from error
    found: dict[str, dict[int, Path]] = {}
    for image in sorted(folder.glob(f"*{ending}")):
        told = _CHANNEL.fullmatch(image.name.removesuffix(ending))
        if told and not image.name.startswith("."):
            found.setdefault(told[1], {})[int(told[2])] = image
    if not found:
        raise SetupError(
            f"no image named CASE_0000{ending}", where=folder, mend="put the challenge's test images into it"
        )
    problems = [f"{printable(case)}: no name that an archive can hold" for case in found if not is_plain_name(case)]
    problems += [
        f"{printable(case)}: channels {', '.join(f'{number:04d}' for number in sorted(files))} of {channels}"
        for case, files in found.items()
        if sorted(files) != list(range(channels)) and not _is_colour_image(files, channels)
    ]
    told_cases = dataset_json.get("numTest")
    if isinstance(told_cases, int) and told_cases not in (0, len(found)):
        problems.append(f"{len(found)} cases, and {file} tells of {told_cases} (numTest)")
    if problems:
        raise DataError(
            "the test images cannot be used:\n" + "\n".join(f"    {problem}" for problem in problems),
            where=folder,
            mend="copy the missing files, rename odd ones, or correct dataset.json",
        )
    cases = {case: tuple(files[number] for number in sorted(files)) for case, files in found.items()}
    return TestImages(name, folder, dataset_json, ending, cases)


def _is_colour_image(files: Mapping[int, Path], channels: int) -> bool:
    """Whether one file holds all channels: nnU-Net keeps red, green and blue together."""
    return set(files) == {0} and channels > 1 and count_colours(files[0]) == channels
