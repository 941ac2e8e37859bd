"""Independent streams of randomness from one seed, each a pure function of the seed, a purpose and a number."""

from __future__ import annotations

from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stream(IntEnum):
    """What random numbers are for; the values are part of what makes a run reproducible."""

    INITIAL_WEIGHTS = 0
    SPLIT = 1
    INTENSITIES = 2
    TRAIN_PATCHES = 3
    TRAIN_DISTORTIONS = 4
    VAL_PATCHES = 5
    VAL_DISTORTIONS = 6
    HEAD_WEIGHTS = 7
    CHANNELS = 8
    DROPOUT = 9
    DISCOVERY = 10
    PROBE = 20


def numpy_generator(seed: int, stream: Stream, number: int = 0) -> np.random.Generator:
    """A numpy generator of one stream."""
    return np.random.default_rng([seed, int(stream), number])


def torch_generator(seed: int, stream: Stream, number: int = 0) -> torch.Generator:
    """A torch generator on the CPU of one stream."""
    state = np.random.SeedSequence([seed, int(stream), number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Let the layers of a network that draw for themselves (dropout) draw the same in the same step of every run.

    They know only torch's global generators, which are seeded here, those of accelerators too.
    """
    _seed_torch(seed, Stream.DROPOUT, step, rank)


@contextmanager
def initial_weights(seed: int, stream: Stream, number: int = 0) -> Iterator[None]:
    """Let torch's initialisers, which know only the global generator, draw from one stream; it is put back after."""
    with torch.random.fork_rng(devices=[]):
        _seed_torch(seed, stream, number)
        yield


def _seed_torch(seed: int, stream: Stream, *numbers: int) -> None:
    torch.manual_seed(int(np.random.default_rng([seed, int(stream), *numbers]).integers(1 << 62)))
