"""The benchmark's own view of the preprocessed dataset: links to the user's data, and labelled subsets as folds."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError
from nnunet_genesis.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.benchmark.runs import Subset
    from nnunet_genesis.plans import PlannedConfiguration

SPLITS_FILE = "splits_final.json"


def preprocessed_folder(folder: Path, dataset_folder: Path) -> Path:
    """What ``nnUNet_preprocessed`` is for the runs of a benchmark.

    Jobs of a cluster may each have the dataset on a disk of their own, at another place: each place has its view, so
    that a job that begins does not point the others' trainings at what is its own.

    Args:
        folder: The benchmark's.
        dataset_folder: The user's preprocessed dataset.
    """
    place = sha256(str(dataset_folder.absolute()).encode()).hexdigest()[:8]
    return folder / "workspace" / place / "nnUNet_preprocessed"


def find_view(folder: Path, dataset: str) -> Path:
    """The view of a dataset, the first one whose links lead somewhere from here.

    Raises:
        FileNotFoundError: If there is none.
    """
    for view in sorted(folder.glob(f"workspace/*/nnUNet_preprocessed/{dataset}")):
        if (view / "dataset.json").is_file():
            return view
    raise FileNotFoundError(
        f"no link of {folder / 'workspace'} leads to the preprocessed {dataset} any more: has it been moved?"
    )


def make_workspace(
    folder: Path, planned: PlannedConfiguration, subsets: Sequence[Subset], test_cases: Sequence[str]
) -> None:
    """Make or renew the view.

    Preprocessed cases, references, plans and description are links to the user's, so that nothing is copied and the
    user's ``splits_final.json`` is neither read nor changed. Fold k trains on the k-th subset and is validated on the
    test cases.

    Args:
        folder: The benchmark's.
        planned: The dataset.
        subsets: In the order of their folds.
        test_cases: Held out.

    Raises:
        SetupError: If links cannot be made.
    """
    view = preprocessed_folder(folder, planned.dataset_folder) / planned.dataset_name
    view.mkdir(parents=True, exist_ok=True)
    for entry in sorted(planned.dataset_folder.absolute().iterdir()):
        if entry.name != SPLITS_FILE and not entry.name.startswith("."):
            _link(entry, view / entry.name)
    splits = [{"train": list(subset.cases), "val": list(test_cases)} for subset in subsets]
    write_json(splits, view / SPLITS_FILE)


def _link(entry: Path, link: Path) -> None:
    if link.is_symlink():
        if link.readlink() == entry:
            return
        link.unlink()
    elif link.exists():
        return
    try:
        link.symlink_to(entry, target_is_directory=entry.is_dir())
    except FileExistsError:
        return  # another job was faster
    except OSError as error:
        raise SetupError(
            f"no link can be made here ({error.strerror or error})",
            where=link,
            mend="--output on a file system with symbolic links (on Windows: turn on the developer mode)",
        ) from error
