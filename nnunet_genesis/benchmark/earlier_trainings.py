"""How long a training takes, by the epochs that nnU-Net's logs tell of, before one of the benchmark has finished."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING

from nnunet_genesis.benchmark.run_folder import RUNS
from nnunet_genesis.trainers.schedules import DEFAULT_EPOCHS

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.benchmark.settings import BenchmarkSettings

_NNUNETS_ITERATIONS = 250
_MOST_LOGS = 20
_EPOCH_TIME = re.compile(r"Epoch time: ([0-9.]+) s")
_ITERATIONS = re.compile(r"_([1-9]\d*)iters(?:_|$)")


def seconds_by_logs(settings: BenchmarkSettings, folder: Path, results_folder: Path) -> float | None:
    """Time of the epochs of one training: by unfinished trainings of the benchmark, else by others of the same plans.

    An epoch of another length counts by its iterations. What comes after the epochs, prediction, is not in it.

    Args:
        settings: Of the benchmark.
        folder: Of the benchmark.
        results_folder: ``nnUNet_results/DATASET``.

    Returns:
        Seconds; None where there is no log with an epoch.
    """
    logs_of_plans = f"*__{settings.plans}__{settings.configuration}/fold_*/training_log_*.txt"
    of_the_benchmark = folder.glob(f"{RUNS}/*/nnUNet_results/{settings.dataset}/{logs_of_plans}")
    for found in (of_the_benchmark, results_folder.glob(logs_of_plans)):
        logs = sorted(found, key=lambda log: log.name)
        times = [seconds for log in logs[-_MOST_LOGS:] for seconds in _seconds_per_iteration(log)]
        if times:
            iterations = settings.iterations or _NNUNETS_ITERATIONS
            return statistics.median(times) * iterations * (settings.epochs or DEFAULT_EPOCHS)
    return None


def _seconds_per_iteration(log: Path) -> list[float]:
    """One value per epoch that the log of a training tells of."""
    told = _ITERATIONS.search(log.parent.parent.name.split("__")[0])
    iterations = int(told[1]) if told else _NNUNETS_ITERATIONS
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [float(seconds) / iterations for seconds in _EPOCH_TIME.findall(text)]
