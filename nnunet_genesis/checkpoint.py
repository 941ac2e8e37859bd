"""The checkpoint file: how it is written, read and found.

A file is one dictionary of plain containers and tensors, so that it loads with ``weights_only=True`` and can never run
code:

- ``network_weights``: state dict of the network that the plans describe, with as many outputs as inputs;
- ``genesis``: provenance (format version, pretext, configuration, dataset, plans, cases and their hashes, ...);
- ``nnssl_adaptation_plan``: the same facts as nnssl's adaptation loaders expect them;
- ``training_state``: only in resumable files, what a continued run needs.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from nnunet_genesis.errors import CheckpointError

FORMAT_VERSION = 1
FOLDER_PREFIX = "GenesisPretraining_"
FINAL_NAME = "checkpoint_final.pth"
LATEST_NAME = "checkpoint_latest.pth"
BEST_NAME = "checkpoint_best.pth"


def folder_name(pretext: str, plans_name: str, configuration: str) -> str:
    """Name of the pretraining folder inside ``nnUNet_results/DATASET``."""
    return f"{FOLDER_PREFIX}{pretext}__{plans_name}__{configuration}"


def find_finished(results_folder: Path, plans_name: str, configuration: str) -> list[Path]:
    """List the finished pretrainings of one dataset, plans and configuration, of any pretext."""
    return sorted(results_folder.glob(f"{folder_name('*', plans_name, configuration)}/{FINAL_NAME}"))


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that a reader sees the old file or the new one, never a part.

    The content goes to a temporary name in the same folder, is flushed to the disk, and is renamed.
    """
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(file: Path) -> dict[str, Any]:
    """Read a checkpoint of ours onto the CPU, whatever device wrote it, without unpickling code.

    Raises:
        CheckpointError: If the file is missing, damaged, would need to run code, or is of another kind.
    """
    if not file.is_file():
        raise CheckpointError("no such checkpoint", where=file, mend="check the path")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(file) or _is_bare_pickle(file):
            raise CheckpointError(
                f"the file holds more than weights and plain values, and reading it could run code"
                f" ({_first_line(error)}); it was not loaded",
                where=file,
                mend="use a file that genesis-pretrain-nnunet wrote",
            ) from error
        raise _damaged(file, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _damaged(file, error) from error
    if not isinstance(content, dict) or not {"network_weights", "genesis"} <= content.keys():
        keys = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"not a checkpoint of nnunet-genesis (it holds {keys})",
            where=file,
            mend="use a file that genesis-pretrain-nnunet wrote",
        )
    version = content["genesis"].get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"format version {version!r} is unknown, this version reads {FORMAT_VERSION}",
            where=file,
            mend="pip install --upgrade nnunet-genesis",
        )
    return content


def sha256_of_file(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _damaged(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the file is damaged or incomplete ({_first_line(error)})",
        where=file,
        mend="use another checkpoint of the same folder (checkpoint_latest, checkpoint_best), or copy the file again;"
        " it was left as it is",
    )


def _is_bare_pickle(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(1) == b"\x80"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
