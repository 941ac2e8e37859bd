"""How many processes work beside a run, by nnU-Net's variables or the number of cores, and which is its first."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.pretraining.processes import (
    is_first_process,
    loader_workers,
    preprocessing_workers,
    same_launcher,
    torchrun_name,
)
from nnunet_genesis.pretraining.run_files import was_begun_by

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("cores", "told", "loading", "preprocessing"),
    [
        (1, "", 1, 1),
        (4, "", 3, 4),
        (64, "", 8, 8),
        (4, "12", 12, 12),
        (4, "0", 0, 4),  # training may load in its own process, preprocessing needs one
        (4, "many", 3, 4),
    ],
)
def test_workers(monkeypatch: pytest.MonkeyPatch, cores: int, told: str, loading: int, preprocessing: int) -> None:
    monkeypatch.setattr("nnunet_genesis.pretraining.processes.count_cores", lambda: cores)
    monkeypatch.setenv("nnUNet_n_proc_DA", told)
    monkeypatch.setenv("nnUNet_def_n_proc", told)
    assert (loader_workers(), preprocessing_workers()) == (loading, preprocessing)


def test_processes_that_we_start_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnunet_genesis.pretraining.processes.count_cores", lambda: 16)
    monkeypatch.delenv("nnUNet_n_proc_DA", raising=False)
    assert [loader_workers(num_devices) for num_devices in (1, 2, 4, 64)] == [8, 7, 3, 1]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "slurm-77")  # whose tasks have cores of their own
    assert loader_workers(4) == 8


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"SLURM_PROCID": "1"}, True),  # tasks of one job may be runs of their own
        ({"SLURM_PROCID": "0", "TORCHELASTIC_RUN_ID": "run", "RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"TORCHELASTIC_RUN_ID": "run", "RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "1", "WORLD_SIZE": "4"}, True),  # a pod of Kubeflow that starts a run of its own
        ({"SLURM_PROCID": "1", "LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
    ],
)
def test_the_first_process_of_a_run(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, is_first: bool
) -> None:
    for variable in ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert is_first_process() is is_first


@pytest.mark.parametrize(
    ("run_id", "error_file", "hosts", "name"),
    [
        (None, "/logs/none_k2x/attempt_0/1/error.json", 1, None),
        ("17", "/logs/17_k2x/attempt_0/1/error.json", 2, "17"),
        ("none", "/logs/none_k2x/attempt_1/0/error.json", 1, sha256(b"node7:/logs/none_k2x").hexdigest()[:16]),
        ("none", "/logs/none_k2x/attempt_1/0/error.json", 2, None),  # every host has a folder of its own
        ("none", "", 1, None),  # told to keep no logs: nothing tells it from others
        ("none", None, 1, None),
    ],
)
def test_names_of_torchruns(
    monkeypatch: pytest.MonkeyPatch, run_id: str | None, error_file: str | None, hosts: int, name: str | None
) -> None:
    """Without an id, hashes: host and folder would be published with a checkpoint that is pushed."""
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", str(2 * hosts))
    for variable, value in (("TORCHELASTIC_RUN_ID", run_id), ("TORCHELASTIC_ERROR_FILE", error_file)):
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    assert torchrun_name() == name
    assert bool(same_launcher()) == (run_id is not None)


def test_a_run_without_torchrun_was_begun_by_none(tmp_path: Path) -> None:
    """Neither where there is nothing, nor where torchrun cannot be told from others."""
    assert not was_begun_by(tmp_path, "17")
    assert not was_begun_by(tmp_path, None)
