"""How many processes work beside a run, by nnU-Net's variables or the number of cores, and which is its first."""

from __future__ import annotations

import pytest

from nnunet_genesis.pretraining.processes import is_first_process, loader_workers, preprocessing_workers


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
