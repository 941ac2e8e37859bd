"""How well the scale of a patch is told from its power spectrum alone, as it is and with its sharpness hidden.

    python -m benchmarks.scale_spectrum --json

Logistic regression on the log power of twelve shells of frequency. Whole scans are held out, of hippocampus whole
subjects. Chance is 1/3. "shape" is the spectrum without its mean: what is left when contrast says nothing. "anatomy
alone" is the reference: so coarse that nothing of the scanner is left. Real scans are those of tests/real_data.py;
"alike" are written ones that look alike at every magnification, seen by a scanner with a blur of so many voxels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.machine import add_report_flags, report
from nnunet_genesis.pretraining.scales.patches import ScaledPatches
from nnunet_genesis.pretraining.scales.sharpness import COARSENESS
from tests.pretraining.scales.spectrum import measure_spectra, real_scans, scale_free_scan, write_scans

if TYPE_CHECKING:
    import numpy.typing as npt

    from nnunet_genesis.pretraining.case_index import CaseIndex

SETS: dict[str, tuple[str, tuple[int, ...]]] = {
    **{f"alike, blur {blur}": (str(blur), (24, 24, 24)) for blur in (0.2, 0.8, 1.2, 2.0)},
    "hippocampus": ("hippocampus", (14, 22, 14)),
    "sts_mr_t1": ("sts_mr_t1", (16, 32, 32)),
    "sts_ct": ("sts_ct", (16, 32, 32)),
    "sts_mr_t1, slices": ("sts_mr_t1", (32, 32)),
    "sts_ct, slices": ("sts_ct", (32, 32)),
}
WAYS = {"as it is": None, "hidden": COARSENESS, "anatomy alone": (4.0, 5.0)}


def open_set(folder: Path, name: str, most: int) -> tuple[CaseIndex, npt.NDArray[np.int64]]:
    """Write the scans of a set, and number its patients."""
    if name.startswith(("hippocampus", "sts")):
        return real_scans(folder, name, most)
    generator = np.random.default_rng(0)
    scans = {f"scan_{number:02d}": scale_free_scan(72, generator, blur=float(name)) for number in range(12)}
    return write_scans(folder, scans, -np.inf), np.arange(len(scans))


def main() -> None:
    """Measure, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--patches", type=int, default=1000, help="patches per set and way")
    parser.add_argument("--scans", type=int, default=60, help="scans per set at most")
    add_report_flags(parser)
    options = parser.parse_args()
    figures: dict[str, float] = {}
    lines = [f"{'':>20} {'':>14} {'spectrum':>20} {'shape':>20}   patches, groups"]
    for title in options.sets:
        name, patch_size = SETS[title]
        with TemporaryDirectory() as folder:
            index, groups = open_set(Path(folder), name, options.scans)
            for way, coarseness in WAYS.items():
                patches = ScaledPatches(
                    [index],
                    [1.0],
                    patch_size,
                    max_background_share=0.75,
                    seed=(1,),
                    sharp_share=0,
                    coarseness=coarseness,
                )
                spectra = measure_spectra(patches, groups, options.patches)
                whole, shape = spectra.accuracy(), spectra.without_gain().accuracy()
                counts = f"{len(spectra.labels)}, {len(np.unique(spectra.groups))}"
                lines.append(f"{title:>20} {way:>14} {whole!s:>20} {shape!s:>20}   {counts}")
                figures |= {f"{title}, {way}, spectrum": whole.mean, f"{title}, {way}, shape": shape.mean}
    report("scale_spectrum", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
