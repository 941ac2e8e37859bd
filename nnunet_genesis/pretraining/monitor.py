"""What a person watches: progress bar, log file, CSV, TensorBoard and pictures. Only the first process has one."""

from __future__ import annotations

import csv
import gc
import logging
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest
from tqdm import tqdm

from nnunet_genesis.files import replacing
from nnunet_genesis.pretraining.best_effort import BestEffort, LogFile, TensorBoardFile
from nnunet_genesis.pretraining.figures import (
    RestorationExample,
    choose_examples,
    draw_progress,
    draw_restorations,
    source_loss,
)
from nnunet_genesis.pretraining.progress_bar import expected_end, seconds_between_updates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_genesis.pretraining.pretext_network import PretextNetwork
    from nnunet_genesis.pretraining.validation import Baselines, ValidationPairs

SECONDS_BETWEEN_PICTURES = 30
LOGGER = logging.getLogger("nnunet_genesis")


class Monitor:
    """Shows a run while it goes on, and leaves its record in the output folder.

    Args:
        folder: Output folder.
        title: Heading of the pictures.
        spacing: Millimetres per axis.
        total_steps: Steps of the whole run.
        first_step: Step that this process starts with.
    """

    def __init__(
        self, folder: Path, *, title: str, spacing: tuple[float, ...], total_steps: int, first_step: int
    ) -> None:
        self.folder, self.title, self.spacing = folder, title, spacing
        self.first_step, self.total_steps = first_step, total_steps
        self._started = time.monotonic()
        self._last_pictures = 0.0
        self._effort, self._tensorboard = BestEffort(), TensorBoardFile(folder / "tensorboard", first_step)
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            unit="step",
            desc="pretraining",
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=seconds_between_updates(),
        )
        self._shown: dict[str, str] = {}

    def step(self, step: int, loss: float | None) -> None:
        """Show that `step` steps are done; `loss` is None where reading it would make the device wait."""
        if loss is not None:
            self._shown["loss"] = f"{loss:.4f}"
            self._shown["end"] = expected_end(self._started, step - self.first_step, self.total_steps - step)
            self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update(1)

    def epoch(self, history: Sequence[dict[str, Any]], validation: ValidationPairs, baselines: Baselines) -> None:
        """Record a finished epoch: log lines, CSV, TensorBoard."""
        entry = history[-1]
        self._shown["val"] = f"{entry['val_loss']:.4f}"
        LOGGER.info(
            "epoch %d: training %.4f, validation %.4f (input returned %.4f, blurred %.4f), %.2f steps/s",
            entry["epoch"] + 1,
            entry.get("train_restoration", entry["train_loss"]),
            entry.get("val_restoration", entry["val_loss"]),
            baselines.identity,
            baselines.blurred,
            entry["steps_per_second"],
        )
        for name, chance in validation.score_chances.items():
            if f"val_{name}" not in entry:
                continue
            score, patches = entry[f"val_{name}"], validation.num_scored(name)
            low, high = score_interval(score, patches)
            LOGGER.info(
                "  %s on held-out scans: %.3f (95 %% interval over %d patches %.3f to %.3f, chance %.3f)",
                name,
                score,
                patches,
                low,
                high,
                chance,
            )
        if len(baselines.sources) > 1:
            LOGGER.info(
                "  validation by source: %s",
                ", ".join(
                    f"{name} {entry[source_loss(name)]:.4f} (blurred {own.blurred:.4f})"
                    for name, own in baselines.sources.items()
                ),
            )
        with self._effort.writing("tensorboard"):
            self._tensorboard.record(history)
        with self._effort.writing("progress.csv"), replacing(self.folder / "progress.csv") as part:
            write_csv(part, history)

    def pictures(
        self,
        history: Sequence[dict[str, Any]],
        pairs: ValidationPairs,
        baselines: Baselines,
        network: PretextNetwork,
        *,
        last: bool,
    ) -> None:
        """Draw progress.png and restorations.png, at most every half minute and at the end."""
        now = time.monotonic()
        if not last and self._last_pictures and now - self._last_pictures < SECONDS_BETWEEN_PICTURES:
            return
        self._last_pictures = now
        with self._effort.writing("progress.png"):
            draw_progress(self.folder / "progress.png", history, baselines, self.title, pairs.score_chances)
        numbers = choose_examples(pairs.labels)
        restored = pairs.restore(network, numbers)
        examples = [
            RestorationExample(pairs.label(n), pair.target[0], pair.distorted[0], result[0], pair.weight[0])
            for n, pair, result in zip(numbers, (pairs.pairs[n] for n in numbers), restored, strict=True)
        ]
        title = f"{self.title}, held-out cases, epoch {history[-1]['epoch'] + 1}"
        with self._effort.writing("restorations.png"):
            draw_restorations(self.folder / "restorations.png", examples, self.spacing, title)
        # Figures hold themselves in cycles, and training makes too few objects for the collector to come by: without
        # this every picture takes megabytes, for hours.
        gc.collect()

    def close(self) -> None:
        """Finish the bar and the TensorBoard file."""
        self._bar.close()
        self._tensorboard.close()


def write_csv(file: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write one row per finished epoch; a score that an epoch could not be given is empty there."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(name for entry in history for name in entry)))
        writer.writeheader()
        writer.writerows(history)


def score_interval(score: float, patches: int) -> tuple[float, float]:
    """95 % interval of a share of different patches (Wilson), which takes those of one scan for independent ones."""
    interval = binomtest(round(score * patches), patches).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def start_logging(folder: Path | None, *, go_on: bool = False) -> None:
    """Send the package's log to stderr and to a file in the output folder.

    Args:
        folder: Output folder; None: say nothing.
        go_on: Add to the newest file there, so that a run that is requeued many times has one log.
    """
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    stop_logging()
    if folder is None:
        LOGGER.addHandler(logging.NullHandler())
        return
    file = folder / f"pretraining_log_{datetime.now():%Y_%m_%d_%H_%M_%S}.txt"
    if go_on:
        file = max(folder.glob("pretraining_log_*.txt"), default=file)
    LOGGER.addHandler(LogFile(file))
    LOGGER.addHandler(_BesideTheBar())


def stop_logging() -> None:
    """Close the log file."""
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
        handler.close()


class _BesideTheBar(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)
