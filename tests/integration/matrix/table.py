"""The tables of docs/trainers.md, from what the runs left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.matrix import commands
from tests.integration.matrix.rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "trainer_matrix.json"
COLUMNS = ("encoder loaded", "trains", "`--c`", "`--npz`", "`--val`", "`--val_best`", "predicts")
NOT_RUN = "not run"


def read_results() -> dict[str, Any]:
    """Cells and plans by row, and the machine; empty where nothing was kept yet."""
    if not RESULTS.is_file():
        return {"rows": {}}
    content: dict[str, Any] = json.loads(RESULTS.read_text())
    return content


def make_tables(results: Mapping[str, Any]) -> str:
    """Everything between the marks of the page, in Markdown."""
    rows = results["rows"]
    trainings = [["configuration", "scans", "`nnUNetTrainerGenesis...`", *COLUMNS]]
    networks = [["configuration", "network and patch", "nnU-Net's plans"]]
    for row in ROWS.values():
        cells = rows.get(row.name, {})
        name = row.name.replace("-num_gpus", "`-num_gpus`") if row.processes == 1 else f"`{row.name}`, gloo, CPU"
        trainings.append([name, row.scans, f"`{row.tokens}`", *(cells.get(column, NOT_RUN) for column in COLUMNS)])
        networks.append([name, cells.get("network", NOT_RUN), cells.get("planned", NOT_RUN)])
    others = [["command", "seen"], *([f"`{command}`", seen] for command, seen in rows.get(commands.NAME, {}).items())]
    return "\n\n".join(_markdown(table) for table in (trainings, networks, others))


def describe_network(configuration: Mapping[str, Any]) -> str:
    """Stages, features, blocks and patch of a configuration in some plans."""
    architecture = configuration["architecture"]["arch_kwargs"]
    blocks = architecture.get("n_blocks_per_stage") or architecture["n_conv_per_stage"]
    unit = "residual blocks" if "n_blocks_per_stage" in architecture else "convolutions"
    patch = " x ".join(str(side) for side in configuration["patch_size"])
    features = architecture["features_per_stage"]
    return (
        f"{architecture['n_stages']} stages, {min(features)} to {max(features)} features,"
        f" {' '.join(str(count) for count in blocks)} {unit}, patch {patch}"
    )


def _markdown(table: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], "|---" * len(table[0]) + "|", *lines[1:]])
