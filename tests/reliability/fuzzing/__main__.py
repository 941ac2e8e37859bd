"""Read mutated files by every reader and write what became of them to the standard output, as JSON.

Run as ``python -m tests.reliability.fuzzing FOLDER --runs N [--seed S] [--readers NAME ...]``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dynamic_network_architectures
import matplotlib.pyplot  # noqa: F401  (what is imported once is not imported by every file's process)

import nnunet_genesis.pretraining.unlabeled.build  # noqa: F401
from tests.reliability.fuzzing.batch import ACCEPTED, CRASHED, HUNG, REFUSED, Inputs, Result, run_batch
from tests.reliability.fuzzing.readers import READERS

if TYPE_CHECKING:
    from tests.reliability.fuzzing.reader import Reader

# nnU-Net imports all of these, and torchvision's library with them, where it searches for a class of an unknown name.
for _found in pkgutil.walk_packages(dynamic_network_architectures.__path__, "dynamic_network_architectures."):
    importlib.import_module(_found.name)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=100, help="files per reader")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="*")
    parser.add_argument("--show", action="store_true", help="show tracebacks")
    arguments = parser.parse_args()
    if arguments.show:
        os.environ["FUZZING_SHOWS"] = "1"
    numbers = range(arguments.first, arguments.first + arguments.runs)
    told = {}
    for reader in READERS:
        if not arguments.readers or reader.name in arguments.readers:
            told[reader.name] = _run(reader, arguments.folder / reader.name, arguments.seed, numbers)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")


def _run(reader: Reader, folder: Path, seed: int, numbers: range) -> dict[str, Any]:
    scratch = folder / "tmp"
    scratch.mkdir(parents=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    os.chdir(scratch)
    inputs = Inputs.of(reader, folder / "inputs")
    around = _tree(folder.parent, folder)
    counts: Counter[str] = Counter()
    findings: dict[str, list[int]] = {}
    slowest = Result(-1, "")
    memory = 0
    good = range(-len(inputs.files), 0)
    for result in run_batch(reader, inputs, seed, [*good, *numbers]):
        kind = result.outcome.split(":")[0]
        counts[kind if kind in (REFUSED, ACCEPTED, CRASHED, HUNG) else "findings"] += 1
        isolated = reader.in_worker and kind in (CRASHED, HUNG)
        if kind not in (REFUSED, ACCEPTED) and not isolated:
            findings.setdefault(result.outcome, []).append(result.number)
        slowest = max(slowest, result, key=lambda one: one.seconds)
        memory = max(memory, result.memory)
    if _tree(folder.parent, folder) != around:
        findings.setdefault("files were written beside the folder", []).append(-1)
    return {
        "files": len(numbers) + len(good),
        **counts,
        "slowest_seconds": round(slowest.seconds, 3),
        "slowest_file": slowest.number,
        "memory_mb": round(memory / 1e6, 1),
        "wrong": findings,
    }


def _tree(root: Path, but: Path) -> set[str]:
    return {str(path) for path in root.rglob("*") if but not in path.parents}


if __name__ == "__main__":
    main()
