"""Sharpness must not tell the scale: what a classifier makes of power spectra alone, on scans it has not seen.

Chance is 1/3. Where scans look alike at every magnification, sharpness and noise are all that could tell: chance must
be all that is left. Anatomy does not look alike: on real scans the yardstick is what is left when patches are so coarse
(4 to 5 voxels per cell) that nothing of the scanner's blur and noise remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from nnunet_genesis.pretraining.scales.patches import ScaledPatches
from nnunet_genesis.pretraining.scales.sharpness import COARSENESS
from tests.pretraining.scales.spectrum import (
    Spectra,
    measure_spectra,
    real_scans,
    scale_free_scan,
    write_scans,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.pretraining.case_index import CaseIndex

CHANCE = 1 / 3
ANATOMY_ALONE = (4.0, 5.0)


def spectra(
    index: CaseIndex,
    groups: npt.NDArray[np.int64],
    patch_size: tuple[int, ...],
    coarseness: tuple[float, float] | None,
    count: int,
) -> Spectra:
    patches = ScaledPatches(
        [index], [1.0], patch_size, max_background_share=0.75, seed=(1,), sharp_share=0.0, coarseness=coarseness
    )
    return measure_spectra(patches, groups, count)


def test_scans_that_look_alike_at_every_magnification_leave_chance(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    scans = {f"scan_{number:02d}": scale_free_scan(72, generator) for number in range(12)}
    index, groups = write_scans(tmp_path, scans, -np.inf), np.arange(12)
    plain = spectra(index, groups, (24, 24, 24), None, 400).accuracy()
    hidden = spectra(index, groups, (24, 24, 24), COARSENESS, 400).accuracy()
    assert plain.low > 0.8, f"sharpness tells: {plain}"
    assert hidden.mean < CHANCE + 0.1, f"and is hidden: {hidden}"


@pytest.mark.parametrize(
    ("name", "patch_size"),
    [
        ("hippocampus", (14, 22, 14)),
        ("sts_ct", (32, 32)),
        pytest.param("sts_ct", (16, 32, 32), marks=pytest.mark.slow),
    ],
)
def test_on_real_scans_sharpness_tells_and_what_is_left_is_anatomy(
    tmp_path: Path, name: str, patch_size: tuple[int, ...]
) -> None:
    index, groups = real_scans(tmp_path, name, 40)
    plain, hidden, anatomy = (
        spectra(index, groups, patch_size, coarseness, 500).accuracy()
        for coarseness in (None, COARSENESS, ANATOMY_ALONE)
    )
    assert plain.low > CHANCE + 0.02, f"sharpness tells: {plain}"
    assert hidden.mean < plain.mean - 0.03, f"it tells less: {hidden} after {plain}"
    assert hidden.mean < anatomy.mean + 0.06, f"no more than anatomy does: {hidden}, {anatomy}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sts_ct", "sts_mr_t1"])
def test_on_large_real_scans_the_shape_of_the_spectrum_stays_near_chance(tmp_path: Path, name: str) -> None:
    index, groups = real_scans(tmp_path, name, 40)
    hidden = spectra(index, groups, (16, 32, 32), COARSENESS, 1000).without_gain().accuracy()
    assert hidden.mean < CHANCE + 0.1, str(hidden)
