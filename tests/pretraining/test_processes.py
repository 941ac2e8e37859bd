"""How many processes work beside a run: nnU-Net's variables decide, else the number of cores."""

from __future__ import annotations

import pytest

from nnunet_genesis.pretraining.processes import loader_workers, preprocessing_workers


@pytest.mark.parametrize(
    ("cores", "told", "loading", "preprocessing"),
    [
        (None, "", 1, 1),
        (1, "", 1, 1),
        (4, "", 3, 4),
        (64, "", 8, 8),
        (4, "12", 12, 12),
        (4, "0", 0, 4),  # training may load in its own process, preprocessing needs one
        (4, "many", 3, 4),
    ],
)
def test_workers(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, told: str, loading: int, preprocessing: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setenv("nnUNet_n_proc_DA", told)
    monkeypatch.setenv("nnUNet_def_n_proc", told)
    assert (loader_workers(), preprocessing_workers()) == (loading, preprocessing)
