"""One seed for a whole training of nnU-Net: initial weights, batches and augmentation, with its workers.

Without the variable nothing here is called and nnU-Net draws as it always does.

nnU-Net's loaders draw from the global generators of the process that they run in. Here every batch has a number, and
the generators are seeded by it just before the batch is made: its content follows from seed, process and number alone.
So a continued run gets the batches that it would have got, however many workers there are. nnU-Net's own queue hands
batches out as they come; batchgenerators' ordered one takes its place, which may wait for a slow worker.
"""

from __future__ import annotations

import os
import random
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter

from nnunet_genesis.errors import SetupError

SEED_VARIABLE = "nnUNet_genesis_seed"


class Stream(IntEnum):
    """What random numbers are for; the values are part of what makes a run repeatable."""

    INITIAL_WEIGHTS = 0
    TRAINING_BATCHES = 1
    VALIDATION_BATCHES = 2
    EPOCHS = 3


def read_seed() -> int | None:
    """The seed that the environment asks for; None for none.

    Raises:
        SetupError: If it is no whole number from 0 on.
    """
    text = os.environ.get(SEED_VARIABLE, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise SetupError(
            f"the environment variable {SEED_VARIABLE} is '{text}': a seed is a whole number from 0 on",
            mend=f"export {SEED_VARIABLE}=0",
        )
    return int(text)


def seed_generators(seed: int, stream: Stream, *numbers: int) -> None:
    """Seed the global generators of this process by a seed, a purpose and what tells its draws apart."""
    words = np.random.SeedSequence([seed, int(stream), *numbers]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002 (the generator that nnU-Net draws from)
    torch.manual_seed(int(words[2]))


class NumberedBatches:
    """A data loader of nnU-Net whose batches depend on their numbers alone.

    Args:
        loader: nnU-Net's.
        key: Seed, stream and process.
        first: Number of the first batch.
        stride: Number of workers; each makes every stride-th batch.
    """

    def __init__(self, loader: Any, key: tuple[int, Stream, int], first: int, stride: int = 1) -> None:
        self._loader, self._key, self._next, self._stride = loader, key, first, stride

    def set_thread_id(self, thread_id: int) -> None:
        """Called by a worker before its first batch."""
        torch.set_num_threads(1)  # as nnU-Net's own queue does in its workers
        self._next += thread_id
        self._loader.set_thread_id(thread_id)

    def __next__(self) -> Any:
        """The next batch of this worker."""
        seed_generators(*self._key, self._next)
        self._next += self._stride
        return next(self._loader)


def number_batches(batches: Any, *, seed: int, stream: Stream, rank: int, first: int) -> Any:
    """Make nnU-Net's batches repeatable.

    Args:
        batches: What nnU-Net's ``get_dataloaders`` returned.
        seed: Of the run.
        stream: Training or validation.
        rank: Of this process.
        first: Number of the first batch: how many were drawn in the epochs before.

    Raises:
        SetupError: If nnU-Net's loader is of a kind that is not known here.
    """
    key = (seed, stream, rank)
    if isinstance(batches, SingleThreadedAugmenter):
        _take_no_times(batches.data_loader.transforms)
        batches.data_loader = NumberedBatches(batches.data_loader, key, first)
        return batches
    if isinstance(batches, NonDetMultiThreadedAugmenter):
        batches._finish()  # nnU-Net started the workers; no public name stops them
        _take_no_times(batches.generator.transforms)
        ordered = MultiThreadedAugmenter(
            NumberedBatches(batches.generator, key, first, stride=batches.num_processes),
            batches.transform,
            batches.num_processes,
            pin_memory=batches.pin_memory,
            wait_time=batches.wait_time,
        )
        ordered.restart()
        return ordered
    raise SetupError(
        f"{SEED_VARIABLE} is set, and this nnU-Net loads batches by {type(batches).__name__}, which is not known here",
        mend=f"unset {SEED_VARIABLE}, or install a release of nnunetv2 that nnunet-genesis was tested with",
    )


def _take_no_times(transform: Any) -> None:
    """Keep transforms from choosing between two algorithms by which is faster now: they round differently."""
    if getattr(transform, "benchmark", False):
        transform.benchmark = False
    for inner in getattr(transform, "transforms", []):
        _take_no_times(inner)
    if hasattr(transform, "transform"):
        _take_no_times(transform.transform)
