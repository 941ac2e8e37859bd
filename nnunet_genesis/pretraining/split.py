"""Which cases of a source pretraining learns from, and which it is judged on."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.pretraining.seeds import Stream, numpy_generator

if TYPE_CHECKING:
    import numpy.typing as npt


def draw_validation_cases(
    source_name: str, num_cases: int, val_fraction: float, seed: int, *, is_main: bool
) -> npt.NDArray[np.bool_]:
    """Decide which cases of a source are held out; the same seed, name and number of cases give the same answer.

    Args:
        source_name: Other sources have no influence on the split of this one.
        num_cases: Cases of the source.
        val_fraction: Share that is held out: at least one case, where one is left to learn from.
        seed: The run's seed.
        is_main: Whether these are the dataset's own cases.

    Returns:
        (cases,) True where held out.
    """
    number = 0 if is_main else zlib.crc32(source_name.encode()) | 1 << 32
    held_out = min(num_cases - 1, max(1, round(val_fraction * num_cases)))
    chosen = numpy_generator(seed, Stream.SPLIT, number).choice(num_cases, held_out, replace=False)
    mask = np.zeros(num_cases, dtype=bool)
    mask[chosen] = True
    return mask
