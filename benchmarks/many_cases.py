"""A pool of very many cases: how long it takes to index and to start, what workers hold, and what a patch reads.

    python -m benchmarks.many_cases --cases 1000 100000 --json

The cases are small files under many names (hard links to a few), as what is measured is their number, not their size.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.loader_memory import children
from benchmarks.machine import add_report_flags, report
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.case_index import index_cases
from nnunet_genesis.pretraining.data import PatchDataset, StepSampler, build_loader
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.sources import open_sources
from tests.pools import write_pool
from tests.preprocessed import DATASET, smooth_cases, write_dataset

if TYPE_CHECKING:
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.unlabeled.pool import Pool

PATCH = (24, 32, 32)
TEMPLATES = 8
WORKERS = 2
TRACED_PATCHES = 50
_CALLS = ("openat", "read", "pread64", "mmap")
_TRACED = re.compile(rf"\b({'|'.join(_CALLS)})\(")


def write_large_pool(planned: PlannedConfiguration, count: int) -> Pool:
    """Write a pool of `count` cases."""
    pool = write_pool(planned, "many", smooth_cases(TEMPLATES, (48, 64, 64)))
    templates = pool.read_cases()
    lines = []
    for number in range(count):
        template = templates[number % TEMPLATES]
        name = f"patient_with_a_long_identifier_{number:06d}"
        digest = hashlib.sha256(name.encode()).hexdigest()
        case = replace(template, identifier=name, file=f"{name}.b2nd", sha256=digest, scan=f"48x64x64:{digest}")
        # Real lines hold statistics too.
        lines.append(json.dumps({**asdict(case), "statistics": [{"raw": dict.fromkeys("abcdefg", 0.123456789)}]}))
        os.link(pool.folder / template.file, pool.folder / case.file)
    pool.cases_file.write_text("\n".join(lines) + "\n")
    return pool


def measure_start(count: int, figures: dict[str, float]) -> list[str]:
    """Seconds to index a pool and to begin a run on it, and the memory of its loader processes."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as environment:
        write_dataset(Path(folder), smooth_cases(1, PATCH), PATCH, environment)
        planned = load_planned_configuration(DATASET)
        pool = write_large_pool(planned, count)
        begin = time.perf_counter()
        cases = pool.read_cases()
        index = index_cases(pool.folder, cases, [case.identifier for case in cases], [case.scan for case in cases])
        indexed = time.perf_counter() - begin
        size = sum(array.nbytes for array in vars(index).values() if isinstance(array, np.ndarray)) / 2**20
        del cases
        config = PretrainingConfig("models-genesis", 2, pools=("many",), labelled=False)
        begin = time.perf_counter()
        sources = open_sources(planned, config, find_source_folders(planned, config), workers=2, show_progress=False)
        opened = time.perf_counter() - begin
        begin = time.perf_counter()
        open_sources(planned, config, find_source_folders(planned, config), workers=2, show_progress=False)
        opened_again = time.perf_counter() - begin
        patches = PatchDataset.for_training(sources, planned.patch_size, config)
        marks = []
        loader = build_loader(patches, StepSampler(0, 3000, 2), workers=WORKERS, pin_memory=False)
        for number, _ in enumerate(loader, start=1):
            if number in (200, 2990):
                marks.append(sum(map(own_megabytes, children())) / WORKERS)
        del loader
        begun = seconds_to_training(Path(folder))
    figures |= {
        f"index_seconds_{count}": indexed,
        f"index_megabytes_{count}": size,
        f"sources_seconds_{count}": opened,
        f"sources_again_seconds_{count}": opened_again,
        f"command_seconds_{count}": begun,
        f"worker_megabytes_begin_{count}": marks[0],
        f"worker_megabytes_end_{count}": marks[1],
    }
    return [
        f"{count} cases:",
        f"{'list of cases to index':>40}: {indexed:7.2f} s, {size:.0f} MB of arrays",
        f"{'index, exclusion, split':>40}: {opened:7.2f} s, again with the kept index {opened_again:.2f} s",
        f"{'command, until training begins':>40}: {begun:7.2f} s with the kept index",
        f"{'unshared memory of a loader process':>40}: {marks[0]:7.1f} MB after 200 batches, {marks[1]:.1f} after 2990",
        "",
    ]


def own_megabytes(process: int) -> float:
    """Memory of a process that it shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) / 1024


def seconds_to_training(folder: Path) -> float:
    """Seconds from the start of the real command until the line that it writes last before the first step."""
    words = [
        str(Path(sys.executable).parent / "genesis-pretrain-nnunet"), DATASET, "-device", "cpu", "-np", "1",
        "--pools", "many", "--no-labelled", "--epochs", "1", "--iterations-per-epoch", "1", "--overwrite",
        "--output", str(folder / "run"),
    ]  # fmt: skip
    begin = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        if process.stderr is None:
            raise ValueError("the process was started without a pipe")
        for line in process.stderr:
            if line.startswith("output:"):
                return time.perf_counter() - begin
    raise RuntimeError("the command ended before it trained")


def trace_reading(figures: dict[str, float]) -> list[str]:
    """System calls of one patch from a large scan, by strace, where there is one."""
    strace = shutil.which("strace")
    if strace is None:
        return ["no strace on this machine: opens and reads per patch were not counted"]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as environment:
        write_dataset(Path(folder), smooth_cases(1, PATCH), PATCH, environment)
        planned = load_planned_configuration(DATASET)
        pool = write_pool(
            planned, "large", {f"scan_{n}": image for n, image in enumerate(smooth_cases(3, (96, 160, 160)).values())}
        )
        program = (
            "from nnunet_genesis.plans import load_planned_configuration as load\n"
            "from nnunet_genesis.pretraining.unlabeled.pool import open_pools\n"
            "from nnunet_genesis.pretraining.unlabeled.pool_index import index_pool\n"
            "from nnunet_genesis.pretraining.data import PatchDataset\n"
            f"index = index_pool(open_pools(load('{DATASET}'), ['large'])[0])\n"
            f"data = PatchDataset([index], [1.0], {PATCH}, max_background_share=0.75, seed=(0,))\n"
            f"[data[number] for number in range({TRACED_PATCHES})]\n"
        )
        trace = Path(folder) / "trace"
        subprocess.run(
            [strace, "-f", "-y", "-e", f"trace={','.join(_CALLS)}", "-o", str(trace), sys.executable, "-c", program],
            check=True, capture_output=True,
        )  # fmt: skip
        calls = [line for line in trace.read_text(errors="replace").splitlines() if f"{pool.folder}/scan_" in line]
    counts = dict.fromkeys(_CALLS, 0)
    for line in calls:
        if found := _TRACED.search(line):
            counts[found.group(1)] += 1
    per_patch = {name: count / TRACED_PATCHES for name, count in counts.items()}
    figures |= {f"calls_per_patch_{name}": value for name, value in per_patch.items()}
    return [
        "system calls on case files per patch: " + ", ".join(f"{name} {value:g}" for name, value in per_patch.items()),
        "(blocks are read as pages of the mapped file: those that a patch touches, and what the system reads ahead)",
    ]


def main() -> None:
    """Measure, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", type=int, default=[1000, 100_000])
    add_report_flags(parser)
    options = parser.parse_args()
    figures: dict[str, float] = {}
    lines = [line for count in options.cases for line in measure_start(count, figures)]
    lines += trace_reading(figures)
    report("many_cases", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
