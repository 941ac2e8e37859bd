"""``genesis_init.json`` in a fold's folder: what its training began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_genesis.json_reading import read_json

INIT_FILE = "genesis_init.json"


def read_initialization(fold_folder: Path | str) -> dict[str, Any] | None:
    """What the training of a fold wrote about its beginning; None where that cannot be told."""
    try:
        told = read_json(Path(fold_folder, INIT_FILE))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None
