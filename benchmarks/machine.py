"""What figures were measured on, and how they are kept."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.machine import accelerator_name, processor_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

RESULTS = Path(__file__).parent / "results"


def describe_machine() -> dict[str, str]:
    """Processor, accelerator, versions, the command that is running, and the date."""
    return {
        "processor": processor_name(),
        "accelerator": accelerator_name(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "blosc2", "nnunetv2", "nnunet-genesis")},
        "command": shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "date": f"{datetime.now(tz=timezone.utc):%Y-%m-%d}",
    }


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what `report` does."""
    parser.add_argument("--save", action="store_true", help="keep the results in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def report(name: str, table: str, figures: Mapping[str, float], *, save: bool, as_json: bool) -> None:
    """Print a table of figures; keep it in `RESULTS` with the machine; end with one line of JSON if wanted."""
    machine = describe_machine()
    header = "\n".join(f"{key}: {value}" for key, value in machine.items())
    rounded = {key: float(f"{value:.4g}") for key, value in figures.items()}
    sys.stdout.write(f"{header}\n\n{table}\n")
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.txt").write_text(f"{header}\n\n{table}\n")
        (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine, "figures": rounded}, indent=1) + "\n")
    if as_json:
        sys.stdout.write(json.dumps(rounded) + "\n")


def parse_size(text: str) -> tuple[int, ...]:
    """Read "128" (a cube) or "64x64x32"."""
    sides = tuple(int(side) for side in text.split("x"))
    return sides * 3 if len(sides) == 1 else sides
