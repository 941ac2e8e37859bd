"""Memory of the loader: with few and with many cases, at the start and after many batches. Linux only.

    python -m benchmarks.loader_memory --cases 100 10000 --batches 1000 --json

The cases are links to four files. Counted is what belongs to a process alone or is shared with others, divided among
them ("proportional set size"), of this process and its loader processes, without mapped files: those are the system's
cache.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import add_report_flags, report
from benchmarks.workload import all_patches, written_dataset
from nnunet_genesis.pretraining.data import StepSampler, build_loader

WORKERS = 2
PATCH = (32, 64, 64)
FIRST_MARK = 50


def anonymous_megabytes(process: int) -> float:
    """Proportional set size of a process without mapped files, and with its share of memory that goes to others."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    entries = ("Pss_Anon:", "Pss_Shmem:")
    return sum(int(line.split()[1]) for line in lines if line.startswith(entries)) / 1024


def children() -> list[int]:
    """Processes that this one started."""
    own = os.getpid()
    return [int(number) for number in Path(f"/proc/{own}/task/{own}/children").read_text().split()]


def measure(num_cases: int, num_batches: int) -> tuple[float, float]:
    """Megabytes of this process and its loader processes after `FIRST_MARK` batches and after all."""
    with written_dataset((48, 128, 128), PATCH, num_cases=4) as planned:
        dataset = all_patches(planned)
        names = [f"patient_with_a_long_identifier_{number:06d}" for number in range(num_cases)]
        for number, name in enumerate(names):
            (planned.cases_folder / f"{name}.b2nd").symlink_to(f"case_{number % 4:03d}.b2nd")
        few = dataset.indices[0].select(np.arange(num_cases) % 4)
        dataset.indices = [replace(few, identifiers=np.array(names), files=np.array([f"{n}.b2nd" for n in names]))]
        loader = build_loader(dataset, StepSampler(0, num_batches, 2), workers=WORKERS, pin_memory=False)
        marks = []
        for number, _ in enumerate(loader, start=1):
            if number in (FIRST_MARK, num_batches - 10):
                marks.append(sum(map(anonymous_megabytes, [os.getpid(), *children()])))
    return marks[0], marks[1]


def main() -> None:
    """Measure, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", type=int, default=[100, 100_000])
    parser.add_argument("--batches", type=int, default=1000)
    add_report_flags(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure(8, FIRST_MARK + 20)  # what is loaded once must not look like growth
    figures: dict[str, float] = {}
    lines = [f"{WORKERS} workers, patch {'x'.join(map(str, PATCH))}, batch 2; megabytes of all processes", ""]
    lines += [f"{'cases':>7} {f'batch {FIRST_MARK}':>10} {f'batch {options.batches - 10}':>10}"]
    for num_cases in options.cases:
        first, last = measure(num_cases, options.batches)
        lines.append(f"{num_cases:7d} {first:10.1f} {last:10.1f}")
        figures |= {f"mb_{num_cases}_cases_first": first, f"mb_{num_cases}_cases_last": last}
    report("loader_memory", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
