"""What a training began with: in every checkpoint of nnU-Net's, and in ``genesis_init.json`` in its fold's folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.files import write_json
from nnunet_genesis.interop.safe_reading import read_safely
from nnunet_genesis.json_reading import read_json

LOGGER = logging.getLogger("nnunet_genesis")
INIT_FILE = "genesis_init.json"
RECORD_KEY = "genesis_init"
"""Of the record among the arguments that nnU-Net keeps in its checkpoints as ``init_args``."""


def read_initialization(fold_folder: Path | str, checkpoint: Path | None = None) -> dict[str, Any] | None:
    """What the training of a fold wrote about its beginning; None where that cannot be told.

    What the checkpoint says counts: who begins a training anew, and stops it before its first checkpoint, leaves
    another beginning's file beside the weights. Checkpoints of early versions say nothing.

    Args:
        fold_folder: ``fold_X``.
        checkpoint: nnU-Net's, whose beginning is asked for.
    """
    return (checkpoint and _read_checkpoint(checkpoint)) or _read_file(fold_folder)


def write_init_file(fold_folder: Path | str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``genesis_init.json``; returns what stands in it, for checkpoints.

    Raises:
        OSError: If the folder cannot be written.
    """
    plain: dict[str, Any] = json.loads(json.dumps(record))
    write_json(plain, Path(fold_folder, INIT_FILE), indent=2)
    return plain


def restore_init_file(fold_folder: Path | str, record: dict[str, Any]) -> str | None:
    """Write ``genesis_init.json`` where it does not say what the checkpoint says.

    Returns:
        A line for the log, where it told of another beginning.

    Raises:
        OSError: If the folder cannot be written.
    """
    told = _read_file(fold_folder)
    if told == record:
        return None
    write_init_file(fold_folder, record)
    if told is None:
        return None
    other = told.get("file") or told.get("initialization")
    return f"WARNING: {INIT_FILE} told of another beginning ({other}); the checkpoint's is written there again."


def _read_file(fold_folder: Path | str) -> dict[str, Any] | None:
    try:
        told = read_json(Path(fold_folder, INIT_FILE))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _read_checkpoint(file: Path) -> dict[str, Any] | None:
    try:
        arguments = read_safely(file).get("init_args")
    except CheckpointError as error:  # torch before 2.6 refuses all that nnU-Net writes after an epoch
        LOGGER.warning("%s alone says how this training began, its checkpoint cannot be asked: %s", INIT_FILE, error)
        return None
    told = arguments.get(RECORD_KEY) if isinstance(arguments, Mapping) else None
    return told if isinstance(told, dict) else None
