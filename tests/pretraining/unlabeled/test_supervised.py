"""Worker processes that die, hang, fail or are slow: every item gets its own outcome, in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.unlabeled import supervised
from nnunet_genesis.pretraining.unlabeled.supervised import WorkerCrashed, WorkerTimedOut, run_supervised
from nnunet_genesis.scans.problems import Reason, ScanProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_STATE: list[str] = []


class Unpicklable(Exception):
    """Its arguments are not those that it is made of."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def misbehave(item: str) -> str:
    """What an item is called is what happens."""
    if item == "exit":
        os._exit(3)
    elif item == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif item == "out of memory":
        os.kill(os.getpid(), signal.SIGKILL)
    elif item == "hang":
        time.sleep(600)
    elif item == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    elif item == "broken scan":
        raise ScanProblem(Reason.CONSTANT, "all voxels are 7", where="/some/file")
    elif item == "strange error":
        raise Unpicklable("two", "parts")
    elif item == "timeout of a file server":
        raise TimeoutError(110, "Connection timed out")
    elif item == "system exit":
        sys.exit("bad reader")
    elif item.startswith("slow"):
        time.sleep(0.3)
    return item.upper()


def remember(word: str) -> None:
    _STATE[:] = [word]


def recall(item: int) -> tuple[int, str, str]:
    return item, _STATE[0], os.environ["OMP_NUM_THREADS"]


def fail_to_start() -> None:
    os._exit(1)


@pytest.mark.parametrize("workers", [1, 2])
def test_crashes_hangs_and_errors_end_their_item_alone(workers: int) -> None:
    items = [
        "slow first", "exit", "fine", "segfault", "hang", "broken scan", "stubborn", "strange error", "out of memory",
        "timeout of a file server", "last",
    ]  # fmt: skip
    outcomes = list(run_supervised(misbehave, items, workers=workers, seconds=4))
    assert [outcome.item for outcome in outcomes] == items, "in the order of the items"
    by_item = {outcome.item: outcome for outcome in outcomes}
    for item in ("slow first", "fine", "last"):
        assert by_item[item].value == item.upper()
        assert by_item[item].error is None
    for item, text in (("exit", "exit code 3"), ("segfault", "SIGSEGV"), ("out of memory", "for want of memory")):
        error = by_item[item].error
        assert isinstance(error, WorkerCrashed)
        assert text in error.problem
    for item in ("hang", "stubborn"):
        error = by_item[item].error
        assert isinstance(error, WorkerTimedOut)
        assert "not done after 4 seconds" in error.problem
    problem = by_item["broken scan"].error
    assert isinstance(problem, ScanProblem)
    assert (problem.reason, problem.where) == (Reason.CONSTANT, "/some/file")
    assert str(by_item["strange error"].error) == "Unpicklable: two parts"
    assert type(by_item["timeout of a file server"].error) is TimeoutError, "not taken for a worker that hangs"


def test_many_crashes_in_a_row_do_not_end_the_run() -> None:
    items = ["exit", "segfault"] * 12 + ["fine"]
    outcomes = list(run_supervised(misbehave, items, workers=2, seconds=60))
    assert [type(outcome.error) for outcome in outcomes[:-1]] == [WorkerCrashed] * 24
    assert outcomes[-1].value == "FINE"


def test_workers_are_initialised_again_after_a_crash_and_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    outcomes = run_supervised(recall, range(5), workers=1, seconds=60, initializer=remember, arguments=("word",))
    assert [outcome.value for outcome in outcomes] == [(number, "word", "1") for number in range(5)]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_slow_item_holds_up_no_more_than_so_many_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervised, "ITEMS_AHEAD", 5)
    taken: list[str] = []

    def items() -> Iterator[str]:
        for number in range(30):
            taken.append(str(tmp_path / f"wait {number}" if number == 0 else tmp_path / f"{number}"))
            yield taken[-1]

    outcomes = run_supervised(wait_until_others_are_done, items(), workers=2, seconds=60)
    assert next(outcomes).value == 9, "all that may be ahead of it were done meanwhile"
    assert len(taken) == 10
    assert [outcome.item for outcome in outcomes] == taken[1:], "in the order of the items"
    assert len(taken) == 30


def wait_until_others_are_done(item: str) -> int:
    """The first item ends once nine others are done, which the other worker does meanwhile."""
    folder = Path(item).parent
    if Path(item).name.startswith("wait"):
        _wait_until(lambda: len(list(folder.iterdir())) >= 9)
        time.sleep(0.5)  # no further one may come
        return len(list(folder.iterdir()))
    Path(item).touch()
    return 0


def test_workers_that_cannot_start_are_an_error() -> None:
    with pytest.raises(SetupError, match="the worker processes end as soon as they are started"):
        list(run_supervised(misbehave, ["fine"], workers=1, seconds=60, initializer=fail_to_start))


def test_leaving_early_ends_the_workers_at_once() -> None:
    started = time.monotonic()
    outcomes = run_supervised(misbehave, ["fine", "hang", "hang", "hang"], workers=2, seconds=600)
    assert next(outcomes).value == "FINE"
    outcomes.close()
    assert time.monotonic() - started < 30


def test_workers_end_when_the_main_process_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from nnunet_genesis.pretraining.unlabeled.supervised import run_supervised\n"
        "from tests.pretraining.unlabeled.test_supervised import write_process\n"
        "if __name__ == '__main__':\n"
        f"    items = [{str(tmp_path)!r}] * 1000\n"
        "    list(run_supervised(write_process, items, workers=2, seconds=600))\n"
    )
    main = subprocess.Popen([sys.executable, str(script)])
    _wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    main.kill()
    main.wait()
    workers = [int(file.stem) for file in tmp_path.glob("*.pid")]
    _wait_until(lambda: not any(_is_running(worker) for worker in workers))


def write_process(folder: str) -> None:
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(0.2)


def _is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.1)
