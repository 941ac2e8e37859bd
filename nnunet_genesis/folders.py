"""Folders that commands write into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path


def refuse_used_folder(
    folder: Path, purpose: str, mend: str = "name another folder with --output, or delete this one"
) -> None:
    """Make sure that nothing in a folder can be overwritten.

    Args:
        folder: Output folder.
        purpose: What it is for, e.g. "the demonstration".
        mend: What to do about it.

    Raises:
        SetupError: If the folder exists and is not empty.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    raise SetupError(
        f"the output folder of {purpose} is there already and is not empty",
        where=folder,
        mend=mend,
    )
