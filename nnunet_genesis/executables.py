"""Find the commands that pip installed beside this package."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from nnunet_genesis.errors import SetupError


def find_executable(name: str) -> str:
    """Find a command beside this Python, where pip puts it, else on the path.

    Raises:
        SetupError: If it is not installed.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise SetupError(
            f"the command {name} is not installed",
            where=Path(sys.executable).parent,
            mend="install it into this environment: pip install . in the checkout of nnunet-genesis",
        )
    return found
