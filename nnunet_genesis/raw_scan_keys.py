"""Keys that tell whether two files hold the same scan, for the raw images of an nnU-Net dataset.

Reading raw images takes seconds each, so keys are kept in a file and made anew only where an image changed.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import SimpleITK as sitk
from tqdm import tqdm

from nnunet_genesis.errors import DataError, GenesisError, SetupError
from nnunet_genesis.files import write_json
from nnunet_genesis.json_reading import read_json
from nnunet_genesis.nnunet_folders import folder_from_environment
from nnunet_genesis.plans_checks import check_dataset_json
from nnunet_genesis.saved_often import saved_often
from nnunet_genesis.scans.headers import read_header
from nnunet_genesis.scans.nrrd import check_nrrd_header
from nnunet_genesis.scans.problems import ScanProblem
from nnunet_genesis.scans.voxel_hash import scan_key, shape_part
from nnunet_genesis.upstream import check_upstream

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

SCAN_KEYS_FILE = "GenesisScanKeys.json"
"""Name of the file that keeps the keys, in ``nnUNet_results/DATASET``."""
Part = Literal["imagesTr", "imagesTs"]


@dataclass(frozen=True)
class ScanKeys:
    """Keys of raw images.

    Attributes:
        keys: By name of the case; without those of other shapes, where only some shapes were asked for.
        unreadable: Why there is no key, by name of the case.
    """

    keys: dict[str, str]
    unreadable: dict[str, str] = field(default_factory=dict)


def find_raw_cases(dataset_name: str, part: Part) -> dict[str, list[Path]]:
    """The raw images of a dataset, as nnU-Net finds them; hidden files are left out.

    Args:
        dataset_name: E.g. ``Dataset004_Hippocampus``.
        part: Which folder.

    Returns:
        Files of every case, one per channel, by the name of the case. Empty where the folder does not exist.

    Raises:
        SetupError: If ``nnUNet_raw``, the dataset in it or its description is missing or cannot be read.
    """
    folder, description = _open_dataset(dataset_name)
    if part == "imagesTr" and "dataset" in description:
        from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

        listed = get_filenames_of_train_images_and_targets(str(folder), description)
        return {str(case): [Path(file) for file in files["images"]] for case, files in listed.items()}
    ending = str(description["file_ending"])
    cases: dict[str, list[Path]] = {}
    if (folder / part).is_dir():
        for file in sorted((folder / part).iterdir()):
            if file.name.endswith(ending) and not file.name.startswith("."):
                cases.setdefault(file.name[: -len(ending) - len("_0000")], []).append(file)
    return cases


def read_scan_keys(
    dataset_name: str, part: Part, cases: Collection[str] | None, *, cache_file: Path, workers: int
) -> dict[str, str]:
    """Make the keys of raw images, all of which must be readable; see `try_scan_keys`.

    Raises:
        SetupError: If ``nnUNet_raw``, the dataset or a case in it is missing.
        DataError: If an image cannot be read.
    """
    there = find_raw_cases(dataset_name, part)
    missing = sorted(set(cases or ()) - set(there))
    if missing:
        raise SetupError(
            f"{len(missing)} case(s) have no raw images, the first is {missing[0]}",
            where=_open_dataset(dataset_name)[0] / part,
            mend="put the raw images back, or point nnUNet_raw to where they are",
        )
    found = try_scan_keys(dataset_name, part, cases, cache_file=cache_file, workers=workers)
    for case, why in found.unreadable.items():
        raise DataError(
            f"the raw images of case {case} cannot be read ({why})",
            where=there[case][0],
            mend="nnUNetv2_plan_and_preprocess --verify_dataset_integrity finds such cases",
        )
    return found.keys


def try_scan_keys(
    dataset_name: str,
    part: Part,
    cases: Collection[str] | None,
    *,
    cache_file: Path,
    workers: int,
    shapes: Collection[str] | None = None,
) -> ScanKeys:
    """Make the keys of raw images, see `nnunet_genesis.scans.voxel_hash.scan_key`.

    Args:
        dataset_name: E.g. ``Dataset004_Hippocampus``.
        part: Which folder.
        cases: Names of cases, or None for all.
        cache_file: Where keys are kept; where it cannot be written, they are made again the next time.
        workers: Threads that read.
        shapes: Only images of these shapes are read (`shape_part`); an image of another shape cannot be equal.

    Raises:
        SetupError: If ``nnUNet_raw`` or the dataset is missing.
    """
    check_upstream("raw")
    there = find_raw_cases(dataset_name, part)
    wanted = sorted(there if cases is None else cases)
    known = _read_cache(cache_file)
    keys: dict[str, str] = {}
    unreadable = {case: f"there is no raw image of it in {part}" for case in wanted if case not in there}
    pending: dict[str, list[list[Any]]] = {}
    for case in (case for case in wanted if case in there):
        try:
            signature = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in there[case]]
        except OSError as error:  # a link to nothing, for example
            unreadable[case] = str(error)
            continue
        entry = known.get(f"{part}/{case}")
        if entry and entry["files"] == signature:
            keys[case] = entry["key"]
        elif shapes is None or _may_have_shape(there[case][0], shapes):
            pending[case] = signature
    if pending:
        reader = _find_reader(dataset_name)
        with ThreadPoolExecutor(max(1, workers)) as pool:  # reading and sorting release the interpreter lock
            made = pool.map(lambda case: _read_key(reader, there[case]), pending)
            bar = tqdm(made, total=len(pending), desc=f"comparing scans ({part})", unit="scan", disable=None)
            often = saved_often(bar, lambda: _write_cache(cache_file, known))
            for case, (key, problem) in zip(pending, often, strict=True):
                if key is None:
                    unreadable[case] = problem
                else:
                    keys[case] = key
                    known[f"{part}/{case}"] = {"files": pending[case], "key": key}
    kept = {case: key for case, key in keys.items() if shapes is None or key.split(":")[0] in shapes}
    return ScanKeys(kept, unreadable)


def _open_dataset(dataset_name: str) -> tuple[Path, dict[str, Any]]:
    """Folder and description of a raw dataset."""
    folder = folder_from_environment("nnUNet_raw", must_exist=False) / dataset_name
    file, mend = folder / "dataset.json", "write it as nnU-Net's documentation/dataset_format.md says"
    if not file.is_file():
        raise SetupError(
            f"the raw images of {dataset_name} are not here: no dataset.json",
            where=folder,
            mend="point nnUNet_raw to where they are",
        )
    try:
        description = read_json(file)
        str(description["file_ending"])
        check_dataset_json(description, file, mend)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SetupError(
            f"dataset.json of the raw images cannot be used ({type(error).__name__}: {error})",
            where=file,
            mend=mend,
        ) from error
    return folder, description


def _find_reader(dataset_name: str) -> Any:
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    folder, description = _open_dataset(dataset_name)
    # Without an example file the reader is found by its name or by the file ending, and a broken file does not matter.
    try:
        return determine_reader_writer_from_dataset_json(description, None, verbose=False)()
    except RuntimeError as error:
        raise SetupError(
            f"nnU-Net has no reader for the raw images ({error})",
            where=folder / "dataset.json",
            mend="correct its file_ending",
        ) from error


def _read_key(reader: Any, files: Sequence[Path]) -> tuple[str | None, str]:
    """Key of a scan, or None and what is wrong with its files."""
    try:
        for file in files:
            # Readers take shortened NIfTI files for whole ones, and the key would be that of arbitrary memory.
            read_header((str(file),), max_voxels=sys.maxsize)
        voxels, _ = reader.read_images([str(file) for file in files])
        return scan_key(voxels), ""
    except GenesisError as error:
        return None, error.problem
    except Exception as error:  # readers raise whatever they stumble over
        lines = str(error).strip().splitlines()
        return None, f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def _may_have_shape(file: Path, shapes: Collection[str]) -> bool:
    """Whether an image's header allows one of the shapes; images that SimpleITK does not know may have any."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        check_nrrd_header(str(file))
        reader.ReadImageInformation()
    except (RuntimeError, OSError, ScanProblem):
        return True  # what is wrong with it, reading it will say
    size = reader.GetSize()
    return len(size) != 3 or shape_part(size) in shapes


def _read_cache(file: Path) -> dict[str, dict[str, Any]]:
    try:
        content = read_json(file)
        return {str(name): {"files": entry["files"], "key": str(entry["key"])} for name, entry in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # only a cache: keys are made again


def _write_cache(file: Path, known: Mapping[str, Mapping[str, Any]]) -> None:
    with suppress(OSError):  # a read-only folder costs time the next time, nothing else
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(known, file)
