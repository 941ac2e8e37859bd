"""Where the real scans are: ``NNUNET_GENESIS_DATA``, else ``../shared/data`` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real_data_folder(name: str) -> Path:
    """Folder of one real data set; skips the test, with the reason, where it is absent."""
    root = Path(os.environ.get("NNUNET_GENESIS_DATA", Path(__file__).parents[2] / "shared" / "data"))
    folder = root / name
    if not folder.is_dir():
        pytest.skip(f"real scans are absent: {folder} (set NNUNET_GENESIS_DATA to the folder that holds {name}/)")
    return folder
