"""Two processes (gloo), of which the first takes longer than the others may wait at nnU-Net's own meeting points."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from torch import distributed
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from nnunet_genesis.trainers.first_process import others_wait

if TYPE_CHECKING:
    from pathlib import Path

LIMIT, TAKES = 2.0, 5.0
"""Seconds that the processes wait for each other by default, and that the first one takes."""


def join(rank: int, processes: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo",
        init_method=(folder / "meeting_point").as_uri(),
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=LIMIT),
    )


def work(rank: int, folder: Path, waits: bool) -> None:
    join(rank, 2, folder)

    def look() -> None:
        if rank == 0:
            time.sleep(TAKES)

    if waits:
        told: list[str] = []
        with others_wait(told.append):
            look()
        assert not told
    else:
        look()
    distributed.barrier()
    (folder / f"done_{rank}").touch()
    distributed.destroy_process_group()


def test_the_others_wait_for_as_long_as_the_first_takes(tmp_path: Path) -> None:
    spawn(work, args=(tmp_path, True), nprocs=2)
    assert len(list(tmp_path.glob("done_*"))) == 2


def test_without_waiting_they_give_up(tmp_path: Path) -> None:
    """So that the test above can fail."""
    with pytest.raises(ProcessRaisedException):
        spawn(work, args=(tmp_path, False), nprocs=2)


def test_one_process_waits_for_nobody() -> None:
    told: list[str] = []
    with others_wait(told.append):
        pass
    assert not told


def test_where_the_processes_cannot_wait_the_training_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_group(**_: object) -> None:
        raise RuntimeError("Unable to resolve hostname to a (local) address\n<frames>")

    told: list[str] = []
    join(0, 1, tmp_path)
    try:
        monkeypatch.setattr(distributed, "new_group", no_group)
        with others_wait(told.append):
            told.append("looks")
    finally:
        distributed.destroy_process_group()
    assert "cannot wait for the first one (Unable to resolve hostname to a (local) address): what takes" in told[0]
    assert told[1:] == ["looks"]
