"""What signals do to a run, and when it saves."""

from __future__ import annotations

import os
import signal

import pytest

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining import interruption, saving
from nnunet_genesis.pretraining.interruption import StoppedEarly, StopRequest
from nnunet_genesis.pretraining.saving import SaveSchedule


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, in a list to be set."""
    now = [1000.0]
    for module in (interruption, saving):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_a_signal_that_finds_nothing_to_save_raises() -> None:
    with StopRequest() as stop, pytest.raises(StoppedEarly):
        send(signal.SIGUSR1)
    assert stop.requested
    assert stop.exit_code == 75


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((signal.SIGTERM, signal.SIGTERM), 75),
        ((signal.SIGUSR1, signal.SIGTERM, signal.SIGINT), 75),
        ((signal.SIGINT, signal.SIGTERM), 130),
        ((signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGHUP, signal.SIGUSR2, signal.SIGXCPU), 75),
    ],
)
def test_signals_that_a_launcher_repeats_are_one(numbers: tuple[signal.Signals, ...], code: int) -> None:
    with StopRequest() as stop:
        stop.defer()
        assert not stop.requested
        send(*numbers)
    assert stop.requested
    assert stop.exit_code == code


def test_a_second_ctrl_c_interrupts_but_never_while_saving(clock: list[float]) -> None:
    with StopRequest() as stop:
        stop.defer()
        send(signal.SIGINT)
        clock[0] += 10
        with stop.saving():
            send(signal.SIGINT)
        send(signal.SIGTERM)
        clock[0] += 10
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_process_that_a_launcher_started_defers_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with StopRequest() as stop:
        send(signal.SIGTERM)
    assert stop.requested


def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGHUP)
        assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
def test_a_forked_process_is_ended_by_signals_as_ever(sent: signal.Signals) -> None:
    with StopRequest() as stop:
        child = os.fork()
        if child == 0:
            send(sent)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -sent
    assert not stop.requested


def test_saves_are_due_by_minutes_and_by_epochs(clock: list[float]) -> None:
    schedule = SaveSchedule(minutes=2, epochs=3)
    assert [epoch for epoch in range(1, 10) if schedule.is_due_after_epoch(epoch)] == [1, 3, 6, 9]
    clock[0] += 119
    assert not schedule.is_due_by_time()
    clock[0] += 1
    assert schedule.is_due_by_time()
    schedule.saved()
    assert not schedule.is_due_by_time()
    assert not SaveSchedule(minutes=2).is_due_after_epoch(3)


@pytest.mark.parametrize(
    ("minutes", "epochs", "flag"),
    [(0, None, "--save-every-minutes 0"), (float("nan"), None, "--save-every-minutes nan"), (1, 0, "--save-every-epo")],
)
def test_intervals_that_are_none_are_refused(minutes: float, epochs: int | None, flag: str) -> None:
    with pytest.raises(SetupError, match=flag):
        SaveSchedule(minutes, epochs)
