"""The checkpoint file: atomic, safe to read, and clear about what is wrong with it."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest
import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError, StorageError
from tests.hostile import RunsCommand

if TYPE_CHECKING:
    from pathlib import Path


def content(value: float = 1.0) -> dict[str, object]:
    return {
        "network_weights": {"encoder.weight": torch.full((1000,), value)},
        "genesis": {"format_version": checkpoint.FORMAT_VERSION, "epochs": 3},
    }


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_final.pth"
    checkpoint.write(file, content())
    read = checkpoint.read(file)
    assert torch.equal(read["network_weights"]["encoder.weight"], torch.ones(1000))
    assert read["genesis"]["epochs"] == 3


def test_tensors_under_two_names_are_stored_once(tmp_path: Path) -> None:
    weight = torch.rand(100_000)
    one, two = content(), content()
    one["network_weights"] = {"encoder.weight": weight}
    two["network_weights"] = {"encoder.weight": weight, "decoder.encoder.weight": weight}
    checkpoint.write(tmp_path / "one.pth", one)
    checkpoint.write(tmp_path / "two.pth", two)
    assert (tmp_path / "two.pth").stat().st_size < 1.05 * (tmp_path / "one.pth").stat().st_size


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checkpoint_latest.pth"
    checkpoint.write(file, content(1.0))

    def save_half(_: object, stream: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(StorageError, match="the disk is full; checkpoint_latest"):
        checkpoint.write(file, content(2.0))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["checkpoint_latest.pth"]  # noqa: PTH208
    assert checkpoint.read(file)["network_weights"]["encoder.weight"][0] == 1


def test_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_final.pth"
    checkpoint.write(file, content())
    mask = os.umask(0)
    os.umask(mask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_truncated_file_is_refused_and_left(tmp_path: Path, share: float) -> None:
    file = tmp_path / "checkpoint_latest.pth"
    checkpoint.write(file, content())
    whole = file.read_bytes()
    part = whole[: int(share * len(whole))]
    file.write_bytes(part)
    with pytest.raises(CheckpointError, match="damaged or incomplete") as raised:
        checkpoint.read(file)
    assert str(file) in str(raised.value)
    assert file.read_bytes() == part


@pytest.mark.parametrize("container", ["torch", "pickle"])
def test_file_that_would_run_code_is_refused_without_running_it(tmp_path: Path, container: str) -> None:
    file, trace = tmp_path / "checkpoint_final.pth", tmp_path / "code_ran"
    hostile = {**content(), "payload": RunsCommand(trace)}
    if container == "torch":
        torch.save(hostile, file)
    else:
        file.write_bytes(pickle.dumps(hostile))
    with pytest.raises(CheckpointError, match="could run code"):
        checkpoint.read(file)
    assert not trace.exists()


def test_other_kinds_of_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_final.pth"
    torch.save({"state_dict": {}}, file)
    with pytest.raises(CheckpointError, match=r"not a checkpoint of nnunet-genesis \(it holds \['state_dict'\]\)"):
        checkpoint.read(file)
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.read(tmp_path / "missing.pth")
    future = content()
    future["genesis"] = {"format_version": 99}
    checkpoint.write(file, future)
    with pytest.raises(CheckpointError, match="format version 99 is unknown"):
        checkpoint.read(file)


def test_finished_pretrainings_are_found_by_plans_and_configuration(tmp_path: Path) -> None:
    for pretext, plans, configuration, name in (
        ("models-genesis", "nnUNetPlans", "3d_fullres", "checkpoint_final.pth"),
        ("masked", "nnUNetPlans", "3d_fullres", "checkpoint_final.pth"),
        ("masked", "nnUNetPlans", "2d", "checkpoint_final.pth"),
        ("universal-model", "nnUNetPlans", "3d_fullres", "checkpoint_latest.pth"),
    ):
        folder = tmp_path / checkpoint.folder_name(pretext, plans, configuration)
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
    found = checkpoint.find_finished(tmp_path, "nnUNetPlans", "3d_fullres")
    assert [file.parent.name for file in found] == [
        "GenesisPretraining_masked__nnUNetPlans__3d_fullres",
        "GenesisPretraining_models-genesis__nnUNetPlans__3d_fullres",
    ]
