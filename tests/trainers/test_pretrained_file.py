"""Which file a training starts from: the named one, else the only finished one, else an error that says what to do."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.trainers import pretrained_file
from nnunet_genesis.trainers.pretrained_file import find_pretrained_file

if TYPE_CHECKING:
    from pathlib import Path


def add(
    results: Path,
    pretext: str,
    configuration: str = "3d_fullres",
    name: str = checkpoint.FINAL_NAME,
    *,
    exclude_fold: int | None = None,
) -> Path:
    folder = results / checkpoint.folder_name(pretext, "nnUNetPlans", configuration, exclude_fold)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    return folder / name


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("nnUNet_genesis_checkpoint", raising=False)
    return tmp_path / "Dataset003_Liver"


def test_the_only_finished_one_is_taken(results: Path) -> None:
    expected = add(results, "models-genesis")
    add(results, "models-genesis", "2d")
    add(results, "masked", name=checkpoint.LATEST_NAME)
    assert find_pretrained_file(results, "nnUNetPlans", "3d_fullres", 0) == expected


def test_the_named_one_comes_first(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(results, "models-genesis")
    (tmp_path / "mine.pth").touch()
    monkeypatch.setenv("nnUNet_genesis_checkpoint", str(tmp_path / "mine.pth"))
    assert find_pretrained_file(results, "nnUNetPlans", "3d_fullres", 0) == tmp_path / "mine.pth"
    monkeypatch.setenv("nnUNet_genesis_checkpoint", str(tmp_path / "absent.pth"))
    with pytest.raises(CheckpointError, match="nnUNet_genesis_checkpoint names no file"):
        find_pretrained_file(results, "nnUNetPlans", "3d_fullres", 0)


def test_none_names_the_command_and_lists_what_there_is(results: Path) -> None:
    unfinished = add(results, "models-genesis", name=checkpoint.LATEST_NAME)
    with pytest.raises(CheckpointError) as raised:
        find_pretrained_file(results, "nnUNetPlans", "3d_fullres", 0)
    text = str(raised.value)
    assert "genesis-pretrain-nnunet Dataset003_Liver -c 3d_fullres -p nnUNetPlans" in text
    assert str(unfinished) in text


def test_several_are_listed_and_none_is_chosen(results: Path) -> None:
    files = [add(results, "models-genesis"), add(results, "masked")]
    with pytest.raises(CheckpointError, match="2 finished pretrainings fit") as raised:
        find_pretrained_file(results, "nnUNetPlans", "3d_fullres", 0)
    for file in files:
        assert str(file) in str(raised.value)


def test_each_fold_takes_the_pretraining_that_excluded_it(results: Path) -> None:
    """Five folds, honestly: a pretraining each, no variable to set; what excluded another fold has seen this one."""
    files = {fold: add(results, "models-genesis", exclude_fold=fold) for fold in (0, 1)}
    for own, file in files.items():
        assert find_pretrained_file(results, "nnUNetPlans", "3d_fullres", own) == file
    fold: int | str
    for fold, flag in ((2, "--exclude-fold 2"), ("all", "nnUNetTrainerGenesis_scratch")):
        with pytest.raises(CheckpointError, match=f"no finished pretraining .* fold {fold}") as raised:
            find_pretrained_file(results, "nnUNetPlans", "3d_fullres", fold)
        assert flag in str(raised.value)
        assert str(files[0]) in str(raised.value)
    everything = add(results, "models-genesis")
    assert find_pretrained_file(results, "nnUNetPlans", "3d_fullres", 1) == files[1]
    for fold in (2, "all"):
        assert find_pretrained_file(results, "nnUNetPlans", "3d_fullres", fold) == everything


def test_a_fold_does_not_choose_between_pretexts(results: Path) -> None:
    files = [add(results, "models-genesis", exclude_fold=0), add(results, "masked")]
    with pytest.raises(CheckpointError, match="2 finished pretrainings fit") as raised:
        find_pretrained_file(results, "nnUNetPlans", "3d_fullres", 0)
    assert all(str(file) in str(raised.value) for file in files)


def test_the_line_to_type_holds_for_a_folder_with_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_genesis_checkpoint", raising=False)
    results = tmp_path / "my results"
    files = [add(results, pretext) for pretext in ("masked", "models-genesis")]
    with pytest.raises(CheckpointError) as raised:
        find_pretrained_file(results, "nnUNetPlans", "3d_fullres", 0)
    assert shlex.split(raised.value.mend) == ["export", f"nnUNet_genesis_checkpoint={files[0]}"]


def test_a_file_on_the_hub_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(address: str) -> Path:
        asked.append(address)
        return tmp_path / "cached.pth"

    monkeypatch.setattr(pretrained_file, "resolve", fetch)
    monkeypatch.setenv("nnUNet_genesis_checkpoint", "hf://ann/liver@v1")
    assert find_pretrained_file(tmp_path, "nnUNetPlans", "3d_fullres", 0) == tmp_path / "cached.pth"
    assert asked == ["hf://ann/liver@v1"]
