"""Several processes: they take the steps of one, skip together, and none waits for one that is dead."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from torch import distributed

from nnunet_genesis import checkpoint, cli
from nnunet_genesis.machine import count_cores
from nnunet_genesis.pretraining import run
from nnunet_genesis.pretraining.devices import count_sharers, launch_fabric
from nnunet_genesis.pretraining.joining import agree_on_word
from nnunet_genesis.pretraining.processes import LONGEST_WAIT
from tests.preprocessed import smooth_cases, write_dataset
from tests.reliability.faults import GoesWrong, build_broken
from tests.reliability.processes import run_in_processes

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from tests.reliability.effort import Effort


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command with batches of four, on a tiny dataset."""
    write_dataset(tmp_path, smooth_cases(4, (8, 16, 16)), (4, 8, 8), monkeypatch)
    return ["777", "-device", "cpu", "-np", "0", "--batch-size", "4"]


def train(rank: int, arguments: list[str], broken: dict[int, Container[int]], kills_itself: bool = False) -> None:
    """Pretrain as one of several processes whose numbers go wrong at some steps of some ranks."""
    if rank in broken:
        kind = KillsItself if kills_itself else GoesWrong
        build = partial(build_broken, broken[rank], kind=kind)
        pytest.MonkeyPatch().setattr(run, "build_pretext", build)
    cli.pretrain(arguments)


class KillsItself(GoesWrong):
    """As the system does where memory runs out."""

    def enter_step(self, heads: Any, step: int, progress: float) -> None:
        if step in self.steps:
            os.kill(os.getpid(), signal.SIGKILL)
        super().enter_step(heads, step, progress)


def final(folder: Path) -> dict[str, Any]:
    genesis: dict[str, Any] = checkpoint.read(folder / "checkpoint_final.pth")["genesis"]
    return genesis


@pytest.mark.slow
def test_equal_batches_give_equal_losses(arguments: list[str], tmp_path: Path, effort: Effort) -> None:
    """Means over the steps of an epoch, and the validation losses after them.

    AdamW makes much of gradients that are nearly zero, and with them of rounding: it is compared for fewer steps.
    """
    largest = 0.0
    for optimizer, steps in (("sgd", effort.times(3, 25)), ("adamw", effort.times(0, 2))):
        if not steps:
            continue
        losses = {}
        for count in (1, 2, 4) if effort.torture else (1, 2):
            folder = tmp_path / f"{optimizer}_{count}"
            length = ("--epochs", "2", "--iterations-per-epoch", str(steps))
            given = [*arguments, "--optimizer", optimizer, *length, "--output", str(folder)]
            codes = run_in_processes(train, count, tmp_path / "said", given, {})
            assert codes == [0] * count, (tmp_path / "said" / "0.txt").read_text()
            losses[count] = [(entry["train_loss"], entry["val_loss"]) for entry in final(folder)["history"]]
        for count, ours in losses.items():
            for number, (one, several) in enumerate(zip(losses[1], ours, strict=True)):
                assert several == pytest.approx(one, rel=1e-6), (optimizer, count, number)
                largest = max(largest, *(abs(a / b - 1) for a, b in zip(one, several, strict=True)))
    effort.record("equal_losses", {"processes": "1, 2, 4", "sgd steps": 50, "adamw steps": 4, "largest": largest})


@pytest.mark.slow
def test_numbers_that_go_wrong_in_one_process_skip_the_step_in_all(arguments: list[str], tmp_path: Path) -> None:
    given = [*arguments, "--epochs", "3", "--iterations-per-epoch", "1", "--output", str(tmp_path / "out")]
    assert run_in_processes(train, 2, tmp_path / "said", given, {1: {1}}) == [0, 0]
    genesis = final(tmp_path / "out")
    assert genesis["divergence"]["skipped_steps"] == 1
    assert [entry["skipped_steps"] for entry in genesis["history"]] == [0, 1, 0]
    losses = [entry["val_loss"] for entry in genesis["history"]]
    assert losses[1] == losses[0], "weights of a skipped step stay as they were"
    assert losses[2] != losses[1]


def test_a_dead_process_ends_the_others_which_name_it(arguments: list[str], tmp_path: Path) -> None:
    given = [*arguments, "--epochs", "500", "--output", str(tmp_path / "out")]
    codes = run_in_processes(train, 2, tmp_path / "said", given, {1: {3}}, True)
    assert codes == [1, -signal.SIGKILL]
    said = (tmp_path / "said" / "0.txt").read_text()
    assert "rank 1 is not heard of any more" in said
    assert "Traceback" not in said


def test_restarted_processes_meet_whatever_dead_ones_left_in_the_store() -> None:
    """Threads stand for processes; each start finds the keys of the one before, and the last comes late."""
    store, words = cast("Any", distributed).HashStore(), list[str]()
    for delays in ((0.0, 0.0, 0.0), (0.5, 0.0, 0.2), (0.0, 0.5, 0.0)):
        with ThreadPoolExecutor(3) as pool:
            started = [pool.submit(join_late, store, rank, delay) for rank, delay in enumerate(delays)]
            heard = {process.result() for process in started}
        assert len(heard) == 1
        words += heard
    assert len(set(words)) == len(words)


def join_late(store: Any, rank: int, delay: float) -> str:
    time.sleep(delay)
    return agree_on_word(store, rank, 3)


def _write_timeout(rank: int, folder: Path, has_agent: bool) -> None:
    store = None
    if has_agent:
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = (
            cast("Any", distributed).TCPStore(*address, is_master=True, wait_for_workers=False) if not rank else None
        )
    launch_fabric("cpu", 2, "32-true")
    group = cast("Any", distributed).distributed_c10d._get_default_group()
    (folder / f"{rank}.seconds").write_text(
        str(group._get_backend(torch.device("cpu")).options._timeout.total_seconds())
    )
    cast("Any", distributed).barrier()
    del store


@pytest.mark.parametrize("has_agent", [False, True])
def test_others_wait_for_hours_while_the_first_process_reads_all_cases(tmp_path: Path, *, has_agent: bool) -> None:
    codes = run_in_processes(_write_timeout, 2, tmp_path, tmp_path, has_agent)
    assert codes == [0, 0], (tmp_path / "0.txt").read_text()
    for rank in range(2):
        assert float((tmp_path / f"{rank}.seconds").read_text()) == LONGEST_WAIT.total_seconds()


def _write_sharers(rank: int, folder: Path, has_own_core: bool) -> None:
    if has_own_core:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    launch_fabric("cpu", 2, "32-true")
    (folder / f"{rank}.sharers").write_text(str(count_sharers()))
    cast("Any", distributed).barrier()


@pytest.mark.skipif(count_cores() < 2, reason="one core cannot be divided")
@pytest.mark.parametrize(("has_own_core", "sharers"), [(False, "2"), (True, "1")])
def test_processes_with_cores_of_their_own_share_them_with_nobody(
    tmp_path: Path, *, has_own_core: bool, sharers: str
) -> None:
    """SLURM gives every task its own; those that we or torchrun start share all of them."""
    codes = run_in_processes(_write_sharers, 2, tmp_path, tmp_path, has_own_core)
    assert codes == [0, 0], (tmp_path / "0.txt").read_text()
    assert [(tmp_path / f"{rank}.sharers").read_text() for rank in range(2)] == [sharers] * 2
