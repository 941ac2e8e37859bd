"""Which trainings a benchmark has, what they are called, and how jobs share them."""

from __future__ import annotations

import pytest

from nnunet_genesis.benchmark.runs import (
    Length,
    Subset,
    list_runs,
    parse_job,
    parse_schedule,
    take_share,
)
from nnunet_genesis.benchmark.scores import SCRATCH, RunKey
from nnunet_genesis.errors import SetupError

SHORT = Length(10, 20)
SUBSETS = [Subset(0, 5, 0, ("5",), ()), Subset(1, 11, 0, ("10",), ())]


def test_everything_is_crossed_and_scratch_takes_part() -> None:
    runs = list_runs(["mg", "sg"], SUBSETS, ["standard", "warmup"], [0, 1, 2], SHORT, draw_per_seed=False)
    keys = [run.key for run in runs]
    assert len(keys) == len(set(keys)) == 3 * 2 * 2 * 3
    assert {key.initialisation for key in keys} == {SCRATCH, "mg", "sg"}
    assert len({run.identifier for run in runs}) == len(runs)
    assert {(run.key.labelled, run.fold) for run in runs} == {(5, 0), (11, 1)}
    # A cut-off benchmark holds whole comparisons: all of the first seed come before the second.
    assert [key.seed for key in keys] == sorted(key.seed for key in keys)


def test_names_of_trainers() -> None:
    runs = list_runs(["mg"], SUBSETS[:1], ["standard", "full_warmup"], [4], SHORT, draw_per_seed=False)
    assert {run.identifier: run.trainer for run in runs} == {
        "scratch__5__standard__seed4": "nnUNetTrainerGenesis_scratch_10epochs_20iters",
        "mg__5__standard__seed4": "nnUNetTrainerGenesis_10epochs_20iters",
        "scratch__5__warmup__seed4": "nnUNetTrainerGenesis_warmup_scratch_10epochs_20iters",
        "mg__5__full_warmup__seed4": "nnUNetTrainerGenesis_full_warmup_10epochs_20iters",
    }


def test_schedules_that_differ_in_full_share_one_control() -> None:
    runs = list_runs(["mg"], SUBSETS[:1], ["warmup", "full_warmup"], [0], SHORT, draw_per_seed=False)
    assert [run.key for run in runs if run.key.initialisation == SCRATCH] == [RunKey(SCRATCH, 5, "warmup", 0)]
    assert len(runs) == 3


def test_draws_per_seed_are_those_of_the_seed() -> None:
    subsets = [Subset(fold, 5, draw, ("5",), ()) for fold, draw in enumerate((0, 1, 2))]
    runs = list_runs(["mg"], subsets, ["standard"], [0, 2], SHORT, draw_per_seed=True)
    assert {(run.key.seed, run.fold) for run in runs} == {(0, 0), (2, 2)}
    assert len(runs) == 4


def test_nnunets_own_length_has_no_part_in_the_name() -> None:
    (run,) = list_runs([], SUBSETS[:1], ["standard"], [0], Length(None, None), draw_per_seed=False)
    assert run.trainer == "nnUNetTrainerGenesis_scratch"


@pytest.mark.parametrize("jobs", [1, 2, 3, 7, 40])
def test_jobs_have_every_run_exactly_once(jobs: int) -> None:
    runs = list_runs(["mg", "sg"], SUBSETS, ["standard", "warmup"], [0, 1, 2], SHORT, draw_per_seed=False)
    shares = [take_share(runs, runs, (number, jobs)) for number in range(1, jobs + 1)]
    together = [run.identifier for share in shares for run in share]
    assert sorted(together) == sorted(run.identifier for run in runs)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("jobs", [1, 2, 3, 7, 40])
def test_jobs_that_were_asked_for_others_leave_nothing_out(jobs: int) -> None:
    runs = list_runs(["mg", "sg"], SUBSETS, ["standard"], [0, 1, 2], SHORT, draw_per_seed=False)
    asked = [list(reversed(runs)), *([run for run in runs if run.key.seed > 0] for _ in range(jobs - 1))]
    done = [run.identifier for n, few in enumerate(asked) for run in take_share(few, runs, (n + 1, jobs))]
    assert len(done) == len(set(done))
    assert set(done) >= {run.identifier for run in asked[-1]}


@pytest.mark.parametrize("arms", [2, 3, 4])
@pytest.mark.parametrize("jobs", range(2, 13))
def test_jobs_share_every_arm(arms: int, jobs: int) -> None:
    """With the usual numbers of labels and seeds; as runs may be added, they cannot be dealt out quite evenly."""
    names = [f"mg{number}" for number in range(arms - 1)]
    subsets = [Subset(fold, labelled, 0, (str(labelled),), ()) for fold, labelled in enumerate((5, 10, 20, 50, 160))]
    runs = list_runs(names, subsets, ["standard"], [0, 1, 2], SHORT, draw_per_seed=False)
    shares = [take_share(runs, runs, (number, jobs)) for number in range(1, jobs + 1)]
    for arm in ("scratch", *names):
        numbers = [sum(run.key.initialisation == arm for run in share) for share in shares]
        assert max(numbers) - min(numbers) <= 2, numbers
    assert all(len({run.key.initialisation for run in share}) > 1 for share in shares if len(share) > 2)


def test_shares_stay_when_a_benchmark_grows() -> None:
    few = list_runs(["mg"], SUBSETS, ["standard"], [0, 1], SHORT, draw_per_seed=False)
    more = [
        *few,
        *(
            run
            for run in list_runs(["mg", "sg"], SUBSETS, ["standard"], [0, 1, 2], SHORT, draw_per_seed=False)
            if run not in few
        ),
    ]
    for number in (1, 2, 3):
        assert take_share(few, few, (number, 3)) == take_share(few, more, (number, 3))


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/0", "a/b", "-1/4", "1/4/2", ""])
def test_what_is_no_job_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match="this is no job i of n"):
        parse_job(text)


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("standard", "standard"),
        ("full_standard", "full"),
        ("full", "full"),
        ("full_warmup", "full_warmup"),
        ("sawtooth_layerwise", "sawtooth_layerwise"),
    ],
)
def test_schedules(text: str, schedule: str) -> None:
    assert parse_schedule(text, SHORT) == schedule


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("warm", "a schedule is one of standard, full, warmup"),
        ("scratch", "a schedule is one of"),
        ("100epochs", "a schedule is one of"),
        ("warmup_sawtooth", "contradict each other"),
        ("warmup_full", "the tokens are in another order"),
        ("", "a schedule is one of"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, told: str) -> None:
    with pytest.raises(SetupError, match=told):
        parse_schedule(text, SHORT)


def test_a_schedule_that_needs_more_epochs_is_refused() -> None:
    with pytest.raises(SetupError, match="needs at least 4 epochs"):
        parse_schedule("sawtooth", Length(3, None))
