"""A pretraining that is killed anywhere goes on from a whole checkpoint and ends as if nothing had happened."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis import checkpoint
from tests.reliability.interruptions.conftest import STEPS_PER_EPOCH
from tests.reliability.interruptions.lives import Blow

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.effort import Effort
    from tests.reliability.interruptions.conftest import Place, Undisturbed
    from tests.reliability.interruptions.lives import Life


@dataclass
class Tally:
    """What happened to all runs together."""

    kills: int = 0
    inside_writing: int = 0
    before_first_step: int = 0
    parts_left: int = 0
    steps_lost: int = 0
    most_steps_lost: int = 0
    runs_finished: int = 0


def step_to_go_on_from(folder: Path) -> int:
    """The step of the checkpoint that a killed run left; every checkpoint in the folder must be whole."""
    for file in folder.glob("checkpoint_*.pth"):
        checkpoint.read(file)
    if (folder / checkpoint.FINAL_NAME).exists():
        return int(checkpoint.read(folder / checkpoint.FINAL_NAME)["genesis"]["steps"])
    if not (folder / checkpoint.LATEST_NAME).exists():
        assert not (folder / checkpoint.BEST_NAME).exists()
        return 0
    return int(checkpoint.read(folder / checkpoint.LATEST_NAME)["training_state"]["step"])


def wait_and_kill(life: Life, seconds: float) -> bool:
    """Kill a life after so long; returns whether it still lived."""
    life.process.join(seconds)
    if life.process.exitcode is None:
        life.kill()
    return life.join() == -signal.SIGKILL


def test_killed_anywhere_and_continued_ends_with_the_same_bits(
    effort: Effort, place: Place, undisturbed: Undisturbed
) -> None:
    """Half of the kills come after a random time, half at a random call inside the writing of a checkpoint."""
    kills, draws, tally = effort.times(3, 50), random.Random(10), Tally()
    folder, reached, killed = place.root / "killed_0", 0, True
    while tally.kills < kills or killed:
        inside = tally.kills % 2 == 0
        blows: tuple[Blow, ...] = ()
        if inside and tally.kills < kills:
            writing = draws.choice((1, 1, 2, 3))
            blows = (Blow(signal.SIGKILL, writing, draws.randint(1, undisturbed.calls[writing - 1])),)
        life = place.start(folder, blows=blows, workers=draws.choice((0, 1)))
        patience = draws.uniform(0, undisturbed.seconds) if not inside and tally.kills < kills else 300
        killed = wait_and_kill(life, patience)
        first, last = life.steps
        assert killed or life.join() == 0, life.printed
        assert first in (0, reached + 1), "goes on right behind the checkpoint"
        if killed:
            done = max(last, reached)
            reached = step_to_go_on_from(folder)
            assert 0 <= done - reached <= STEPS_PER_EPOCH, life.printed
            tally.kills += 1
            tally.inside_writing += inside
            tally.before_first_step += first == 0
            tally.parts_left += any(folder.glob(".checkpoint_*.tmp"))
            tally.steps_lost += done - reached
            tally.most_steps_lost = max(tally.most_steps_lost, done - reached)
        else:
            undisturbed.assert_left_in(folder)
            tally.runs_finished += 1
            folder, reached = place.root / f"killed_{tally.runs_finished}", 0
    assert tally.inside_writing, "the test has to reach what it is about"
    assert tally.parts_left, "kills inside writing leave parts, which the next life removes"
    effort.record("killed_anywhere", vars(tally))
