"""Keys that tell whether two files hold the same scan, for the raw images of an nnU-Net dataset.

Reading raw images takes seconds each, so keys are kept in a file and made anew only where an image changed.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import SimpleITK as sitk
from tqdm import tqdm

from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.scans.voxel_hash import scan_key, shape_part
from nnunet_genesis.upstream import check_upstream

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

SCAN_KEYS_FILE = "GenesisScanKeys.json"
"""Name of the file that keeps the keys, in ``nnUNet_results/DATASET``."""
Part = Literal["imagesTr", "imagesTs"]


def find_raw_cases(dataset_name: str, part: Part) -> dict[str, list[Path]]:
    """The raw images of a dataset, as nnU-Net finds them.

    Args:
        dataset_name: E.g. ``Dataset004_Hippocampus``.
        part: Which folder.

    Returns:
        Files of every case, one per channel, by the name of the case. Empty where the folder does not exist.

    Raises:
        SetupError: If ``nnUNet_raw`` or the dataset in it is missing.
    """
    folder = _raw_folder(dataset_name)
    description = json.loads((folder / "dataset.json").read_text())
    if part == "imagesTr" and "dataset" in description:
        from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

        listed = get_filenames_of_train_images_and_targets(str(folder), description)
        return {str(case): [Path(file) for file in files["images"]] for case, files in listed.items()}
    ending = str(description["file_ending"])
    cases: dict[str, list[Path]] = {}
    if (folder / part).is_dir():
        for file in sorted((folder / part).iterdir()):
            if file.name.endswith(ending):
                cases.setdefault(file.name[: -len(ending) - len("_0000")], []).append(file)
    return cases


def read_scan_keys(
    dataset_name: str,
    part: Part,
    cases: Collection[str] | None,
    *,
    cache_file: Path,
    workers: int,
    shapes: Collection[str] | None = None,
) -> dict[str, str]:
    """Make the keys of raw images, see `nnunet_genesis.scans.voxel_hash.scan_key`.

    Args:
        dataset_name: E.g. ``Dataset004_Hippocampus``.
        part: Which folder.
        cases: Names of cases, or None for all.
        cache_file: Where keys are kept; where it cannot be written, they are made again the next time.
        workers: Threads that read.
        shapes: Only images of these shapes are read (`shape_part`); an image of another shape cannot be equal.

    Returns:
        Keys by name of the case; without those of other shapes.

    Raises:
        SetupError: If ``nnUNet_raw``, the dataset or a case in it is missing.
        DataError: If an image cannot be read.
    """
    check_upstream("raw")
    there = find_raw_cases(dataset_name, part)
    wanted = sorted(there if cases is None else cases)
    missing = [case for case in wanted if case not in there]
    if missing:
        raise SetupError(
            f"{len(missing)} case(s) have no raw images, the first is {missing[0]}",
            where=_raw_folder(dataset_name) / part,
            mend="put the raw images back, or point nnUNet_raw to where they are",
        )
    known = _read_cache(cache_file)
    keys: dict[str, str] = {}
    pending: dict[str, tuple[Sequence[Path], list[Any]]] = {}
    for case in wanted:
        signature = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in there[case]]
        entry = known.get(f"{part}/{case}")
        if entry and entry["files"] == signature:
            keys[case] = entry["key"]
        elif shapes is None or _may_have_shape(there[case][0], shapes):
            pending[case] = there[case], signature
    if pending:
        reader = _find_reader(dataset_name, next(iter(pending.values()))[0][0])
        with ThreadPoolExecutor(max(1, workers)) as pool:  # reading and sorting release the interpreter lock
            made = pool.map(lambda case: _read_key(reader, case, pending[case][0]), pending)
            bar = tqdm(made, total=len(pending), desc=f"comparing scans ({part})", unit="scan", disable=None)
            for case, key in zip(pending, bar, strict=True):
                keys[case] = key
                known[f"{part}/{case}"] = {"files": pending[case][1], "key": key}
        _write_cache(cache_file, known)
    return {case: key for case, key in keys.items() if shapes is None or key.split(":")[0] in shapes}


def _raw_folder(dataset_name: str) -> Path:
    root = os.environ.get("nnUNet_raw")
    if not root:
        raise SetupError("the environment variable nnUNet_raw is not set", mend="export nnUNet_raw=/path/to/nnUNet_raw")
    folder = Path(root) / dataset_name
    if not (folder / "dataset.json").is_file():
        raise SetupError(
            f"the raw images of {dataset_name} are not here: no dataset.json",
            where=folder,
            mend="point nnUNet_raw to where they are",
        )
    return folder


def _find_reader(dataset_name: str, example: Path) -> Any:
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    description = json.loads((_raw_folder(dataset_name) / "dataset.json").read_text())
    # Without an example file the reader is found by its name or by the file ending, and a broken file does not matter.
    try:
        return determine_reader_writer_from_dataset_json(description, None, verbose=False)()
    except RuntimeError as error:
        raise DataError(
            f"nnU-Net has no reader for the raw images ({error})", where=example, mend="see file_ending in dataset.json"
        ) from error


def _read_key(reader: Any, case: str, files: Sequence[Path]) -> str:
    try:
        voxels, _ = reader.read_images([str(file) for file in files])
    except Exception as error:  # readers raise whatever they stumble over
        raise DataError(
            f"the raw images of case {case} cannot be read ({type(error).__name__}: {error})",
            where=files[0],
            mend="nnUNetv2_plan_and_preprocess --verify_dataset_integrity finds such cases",
        ) from error
    return scan_key(voxels)


def _may_have_shape(file: Path, shapes: Collection[str]) -> bool:
    """Whether an image's header allows one of the shapes; images that SimpleITK does not know may have any."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return True
    size = reader.GetSize()
    return len(size) != 3 or shape_part(size) in shapes


def _read_cache(file: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(file.read_text())
        return {str(name): {"files": entry["files"], "key": str(entry["key"])} for name, entry in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # only a cache: keys are made again


def _write_cache(file: Path, known: Mapping[str, Mapping[str, Any]]) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1) + "\n")
        part.replace(file)
    except OSError:
        with suppress(OSError):  # a read-only folder costs time the next time, nothing else
            part.unlink(missing_ok=True)
