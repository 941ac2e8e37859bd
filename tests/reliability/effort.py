"""How much a test of reliability does, and where its figures go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.machine import RESULTS, describe_machine
from nnunet_genesis.files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Effort:
    """Numbers of repetitions for the default suite and for ``make torture``.

    Attributes:
        torture: Whether the tests run at full length.
        folder: Where figures of full runs are kept.
    """

    torture: bool
    folder: Path = RESULTS / "reliability"

    def times(self, short: int, full: int) -> int:
        """The number of repetitions: `short` in the default suite, `full` under ``make torture``."""
        return full if self.torture else short

    def record(self, promise: str, figures: Mapping[str, float | str]) -> None:
        """Keep the figures of a full run as ``<promise>.json``; a short run leaves the kept ones alone."""
        if self.torture:
            self.folder.mkdir(parents=True, exist_ok=True)
            machine = {**describe_machine(), "command": "make torture"}
            write_json({"machine": machine, "figures": dict(figures)}, self.folder / f"{promise}.json")
