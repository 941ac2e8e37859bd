"""The trainings of a benchmark: what each is called, what it trains on, and in which order they are run."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis._discovery import BASE_NAME
from nnunet_genesis.benchmark.scores import SCRATCH, RunKey
from nnunet_genesis.errors import SetupError, TrainerNameError
from nnunet_genesis.trainers.grammar import TOKENS, parse_trainer_name
from nnunet_genesis.trainers.schedules import STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FULL = "full"
_NOT_SCHEDULES = ("_scratch", "_<N>epochs", "_<M>iters")


@dataclass(frozen=True)
class Subset:
    """Labelled cases.

    Attributes:
        fold: Number of the fold that holds them in the benchmark's own ``splits_final.json``.
        labelled: By which tables and pictures know them: how many they are, where all seeds train on the same ones,
            else how many were asked for.
        draw: Number of the draw.
        asked: What the user asked for: ``5``, ``20%`` or ``all``.
        cases: Sorted.
    """

    fold: int
    labelled: int
    draw: int
    asked: tuple[str, ...]
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        key: What tells it from all others.
        fold: Of the benchmark's own ``splits_final.json``.
        trainer: nnU-Net's ``-tr``.
    """

    key: RunKey
    fold: int
    trainer: str

    @property
    def identifier(self) -> str:
        """Name of its folder."""
        return f"{self.key.initialisation}__{self.key.labelled}__{self.key.schedule}__seed{self.key.seed}"


@dataclass(frozen=True)
class Length:
    """How long to train; None for nnU-Net's own.

    Attributes:
        epochs: Number of epochs.
        iterations: Per epoch.
    """

    epochs: int | None
    iterations: int | None


def parse_schedule(text: str, length: Length) -> str:
    """Read a value of ``--schedules``: ``standard``, or tokens of trainer names like ``warmup`` and ``full_warmup``.

    Raises:
        SetupError: If it is none.
        TrainerNameError: If no trainer has such a name.
    """
    words = [word for word in text.split("_") if word != STANDARD]
    if not text or any(f"_{word}" in _NOT_SCHEDULES or f"_{word}" not in TOKENS for word in words):
        known = [STANDARD, *(token[1:] for token in TOKENS if token not in _NOT_SCHEDULES)]
        raise SetupError(
            f"--schedules {text}: a schedule is one of {', '.join(known)}, or several joined by _",
            mend="--schedules standard warmup full_warmup (genesis trainers says what they do)",
        )
    schedule = "_".join(words) or STANDARD
    try:
        name_trainer(schedule, length, scratch=False)
    except TrainerNameError as error:
        raise SetupError(f"--schedules {text}: {error.problem}", mend=error.mend) from error
    return schedule


def is_full(schedule: str) -> bool:
    """Whether a schedule loads the decoder, too."""
    return _FULL in schedule.split("_")


def control_of(schedule: str) -> str:
    """The schedule that the control is trained by: nothing is loaded, so ``full`` makes no difference there."""
    return "_".join(word for word in schedule.split("_") if word != _FULL) or STANDARD


def name_trainer(schedule: str, length: Length, *, scratch: bool) -> str:
    """The name after ``-tr``.

    Raises:
        TrainerNameError: If the schedule does not allow so few epochs, or its tokens do not go together.
    """
    words = [] if schedule == STANDARD else schedule.split("_")
    words += ["scratch"] if scratch else []
    words += [] if length.epochs is None else [f"{length.epochs}epochs"]
    words += [] if length.iterations is None else [f"{length.iterations}iters"]
    return parse_trainer_name("_".join([BASE_NAME, *words])).name


def list_runs(
    initialisations: Sequence[str],
    subsets: Sequence[Subset],
    schedules: Sequence[str],
    seeds: Sequence[int],
    length: Length,
    *,
    draw_per_seed: bool,
) -> list[Run]:
    """Cross everything, in the order of running: a whole comparison with one seed before the next.

    Args:
        initialisations: Names; `SCRATCH` is trained whether it is named or not, once for schedules that differ only in
            ``full``.
        subsets: Labelled cases.
        schedules: What `parse_schedule` returned.
        seeds: Of the trainings.
        length: How long to train.
        draw_per_seed: Whether a seed trains on the draw of its own number only.
    """
    names = [SCRATCH, *(name for name in initialisations if name != SCRATCH)]
    runs: dict[RunKey, Run] = {}
    for seed in seeds:
        for subset in subsets:
            if draw_per_seed and subset.draw != seed:
                continue
            for schedule in schedules:
                for name in names:
                    is_control = name == SCRATCH
                    trained = control_of(schedule) if is_control else schedule
                    key = RunKey(name, subset.labelled, trained, seed)
                    trainer = name_trainer(trained, length, scratch=is_control)
                    runs.setdefault(key, Run(key, subset.fold, trainer))
    return list(runs.values())


def take_share(runs: Sequence[Run], planned: Iterable[Run], job: tuple[int, int]) -> list[Run]:
    """The runs of one of several jobs; together the jobs have each run once, also where they were asked for others.

    Runs are dealt out in rounds, one to each job, and each to the job that has the fewest of its initialisation: were
    each job given an arm of its own, arms could not be told from machines.

    Args:
        runs: Asked for of this job.
        planned: All runs of the benchmark, in an order to which new ones are only added.
        job: Number of the job, from 1 on, and how many there are.
    """
    number, count = job
    had: defaultdict[str, Counter[int]] = defaultdict(Counter)
    free: list[int] = []
    dealt = {}
    for run in planned:
        free = free or list(range(1, count + 1))
        of_this_arm = had[run.key.initialisation]
        dealt[run.identifier] = min(free, key=of_this_arm.__getitem__)
        of_this_arm[dealt[run.identifier]] += 1
        free.remove(dealt[run.identifier])
    return [run for run in runs if dealt[run.identifier] == number]


def parse_job(text: str) -> tuple[int, int]:
    """Read ``--job i/n``.

    Raises:
        SetupError: If it is not that, or i is not among 1 ... n.
    """
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise SetupError(f"--job {text}: this is no job i of n, with i from 1 to n", mend="--job 1/4")
