"""Signals of schedulers and persons: saved once, with a code to requeue by, and continued without a human."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis import checkpoint
from nnunet_genesis.pretraining.interruption import EXIT_INTERRUPTED, EXIT_REQUEUE
from tests.commands import pretrain
from tests.reliability.interruptions.conftest import STEPS_PER_EPOCH
from tests.reliability.interruptions.lives import Blow

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.interruptions.conftest import Place, Undisturbed


def test_stopped_by_signals_requeued_and_finished(place: Place, undisturbed: Undisturbed) -> None:
    """One run: preempted by three signals at once, stopped by Ctrl-C, finished, and requeued once more."""
    folder = place.root / "requeued"
    while_saving = tuple(
        Blow(sent, 1, call) for sent, call in ((signal.SIGUSR1, 50), (signal.SIGTERM, 100), (signal.SIGTERM, 200))
    )
    life = place.start(folder, blows=while_saving)
    assert life.join() == EXIT_REQUEUE == 75, life.printed
    assert "continue with:" in life.printed
    latest = checkpoint.read(folder / "checkpoint_latest.pth")
    assert latest["training_state"]["step"] == life.steps[1] == 1, "no step is lost"

    (folder / ".checkpoint_latest.pth.killed.tmp").write_bytes(b"part")
    (folder / ".progress.csv.123.tmp").write_bytes(b"part")
    life = place.start(folder, blows=(Blow(signal.SIGINT, 1, 100), Blow(signal.SIGINT, 2, 100)))
    assert life.join() == EXIT_INTERRUPTED == 130, life.printed
    latest = checkpoint.read(folder / "checkpoint_latest.pth")
    assert latest["training_state"]["step"] == life.steps[1] == STEPS_PER_EPOCH

    life = place.start(folder)
    assert life.join() == 0, life.printed
    assert life.steps[0] == STEPS_PER_EPOCH + 1
    undisturbed.assert_left_in(folder)

    # A kill between the last write and the removal of what it replaces leaves both.
    checkpoint.write(folder / "checkpoint_latest.pth", latest)
    before = (folder / "checkpoint_final.pth").read_bytes()
    life = place.start(folder)
    assert life.join() == 0, life.printed
    assert life.steps == (0, 0)
    assert (folder / "checkpoint_final.pth").read_bytes() == before
    undisturbed.assert_left_in(folder)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, EXIT_REQUEUE), (signal.SIGINT, EXIT_INTERRUPTED)])
def test_a_signal_before_the_first_step_ends_at_once(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, code: int
) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("nnunet_genesis.pretraining.run.open_sources", lambda *_, **__: os.kill(os.getpid(), sent))
    arguments = ("777", "-c", "2d", "-device", "cpu", "-np", "0", "--output", tmp_path / "new", "--c")
    assert pretrain(*arguments) == code
    assert not list(tmp_path.rglob("checkpoint*"))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "signals are given back"
