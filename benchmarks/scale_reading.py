"""What patches at several scales cost a loader process, against patches as they are.

    python -m benchmarks.scale_reading --patches 40x56x40 128 16x256x256 --json

Scans are CT-like, of 2.2 patches per axis, written by nnU-Net in its own blocks and compression. Processor time of one
process with one thread, as a loader has: other processes on the machine change it little.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import TYPE_CHECKING

import blosc2
import torch

from benchmarks.machine import add_report_flags, parse_size, report
from benchmarks.workload import all_patches, written_dataset
from nnunet_genesis.pretraining.scales.carrying import SCALES
from nnunet_genesis.pretraining.scales.patches import SHARP_SHARE, ScaledPatches

if TYPE_CHECKING:
    from nnunet_genesis.pretraining.data import PatchDataset

WARM_UP = 3


def milliseconds(dataset: PatchDataset, numbers: list[int]) -> float:
    """Mean processor time of a patch."""
    for number in numbers[:WARM_UP]:
        dataset[number]
    begin = time.process_time()
    for number in numbers:
        dataset[number]
    return 1000 * (time.process_time() - begin) / len(numbers)


def measure(patch: str, count: int, figures: dict[str, float]) -> list[str]:
    """A line per kind of patch."""
    size = parse_size(patch)
    shape = tuple(int(2.2 * side) for side in size)
    with written_dataset(shape, size) as planned:
        plain = all_patches(planned)
        scaled, mixed = (
            ScaledPatches(
                plain.indices,
                plain.chances,
                size,
                max_background_share=plain.max_background_share,
                seed=plain.seed,
                sharp_share=share,
            )
            for share in (0.0, SHARP_SHARE)
        )
        times = {"as they are": milliseconds(plain, list(range(count)))}
        for scale, factor in enumerate(SCALES):
            numbers = [number for number in range(20 * count) if scaled.locate(number).scale == scale][:count]
            times[f"scale {factor:g}"] = milliseconds(scaled, numbers)
        times["as pretraining draws them"] = milliseconds(mixed, list(range(2 * count)))
    figures |= {f"{patch}, {name}": value for name, value in times.items()}
    first = times["as they are"]
    return [
        f"patch {patch} from scans of {'x'.join(map(str, shape))}:",
        *[f"{name:>28}: {value:8.2f} ms, {value / first:5.1f} times" for name, value in times.items()],
        "",
    ]


def main() -> None:
    """Measure, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", nargs="+", default=["40x56x40", "128", "16x256x256"])
    parser.add_argument("--count", type=int, default=20, help="patches per figure")
    add_report_flags(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    blosc2.set_nthreads(1)
    figures: dict[str, float] = {}
    lines = list(itertools.chain.from_iterable(measure(patch, options.count, figures) for patch in options.patches))
    report("scale_reading", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
