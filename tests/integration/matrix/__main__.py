"""Run the matrix: ``python -m tests.integration.matrix [--only NAME ...] [--folder FOLDER] [--save]``.

What was planned and pretrained in FOLDER before is used again. Each row is kept as soon as it is done.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from filelock import FileLock

from benchmarks.machine import describe_machine
from tests.integration.matrix import commands
from tests.integration.matrix.datasets import read_plans
from tests.integration.matrix.rows import ROWS, Row
from tests.integration.matrix.steps import FAILS, run_row
from tests.integration.matrix.table import RESULTS, describe_network, make_tables, read_results
from tests.integration.workspace import Workspace, make_workspace

_PROGRAM = "tests.integration.matrix"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.matrix")
    names = [*ROWS, commands.NAME]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--folder", type=Path, help="datasets and models (default: a temporary folder)")
    parser.add_argument("--save", action="store_true", help=f"keep what was seen in {RESULTS.name}")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {"rows": {}}
    with TemporaryDirectory() as temporary:
        workspace = _open(options.folder or Path(temporary, "matrix"))
        for name in options.only:
            begin = time.monotonic()
            cells = _run(workspace, name)
            sys.stderr.write(f"{name}: {time.monotonic() - begin:.0f} s: {cells}\n")
            results = _add(results, name, cells, save=options.save)
    header = "\n".join(f"{key}: {value}" for key, value in results["machine"].items())
    sys.stdout.write(f"{header}\n\n{make_tables(results)}\n")
    failed = any(cell.startswith(FAILS) for name in options.only for cell in results["rows"][name].values())
    return 1 if failed else 0


def _add(results: dict[str, Any], name: str, cells: dict[str, str], *, save: bool) -> dict[str, Any]:
    """Put a row to the others; with `save` to those of the file, which another run may have written meanwhile."""
    machine = {**describe_machine(), "command": f"python -m {_PROGRAM} --save"}
    if not save:
        return {"machine": machine, "rows": {**results["rows"], name: cells}}
    with FileLock(Path(gettempdir(), "trainer_matrix.lock")):
        kept = {"machine": machine, "rows": {**read_results()["rows"], name: cells}}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def _open(folder: Path) -> Workspace:
    return Workspace(folder.resolve()) if folder.is_dir() else make_workspace(folder.resolve())


def _run(workspace: Workspace, name: str) -> dict[str, str]:
    if name == commands.NAME:
        return commands.run_commands(workspace)
    row = ROWS[name]
    return {"trainer": row.trainer, **run_row(workspace, row), **_networks(workspace, row)}


def _networks(workspace: Workspace, row: Row) -> dict[str, str]:
    """The network that was trained, and the one that nnU-Net's plans have in its place."""
    # The second stage of a cascade inherits the network of 3d_fullres.
    configuration = row.configuration.replace("cascade_", "")
    planned = row.plans.removesuffix("Tiny")
    return {
        key: describe_network(read_plans(workspace, row.dataset, plans)["configurations"][configuration])
        for key, plans in (("network", row.plans), ("planned", planned))
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
