"""The checkpoint file: how it is written, read and found.

A file is one dictionary of plain containers and tensors, so that it loads with ``weights_only=True`` and can never run
code:

- ``network_weights``: state dict of the network that the plans describe, with as many outputs as inputs;
- ``genesis``: provenance (format version, checksum of the weights, pretext, configuration, dataset, plans, cases and
  their hashes, ...);
- ``nnssl_adaptation_plan``: the same facts as nnssl's adaptation loaders expect them;
- ``training_state``: only in resumable files, what a continued run needs.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis.errors import UPDATE, CheckpointError
from nnunet_genesis.facts_checks import check_facts
from nnunet_genesis.files import flush_folder
from nnunet_genesis.interop.safe_reading import read_safely
from nnunet_genesis.storage import storage_error, system_error_in
from nnunet_genesis.weights_digest import weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1
CHECKSUM_KEY = "weights_sha256"
FOLDER_PREFIX = "GenesisPretraining_"
FINAL_NAME = "checkpoint_final.pth"
LATEST_NAME = "checkpoint_latest.pth"
BEST_NAME = "checkpoint_best.pth"


def folder_name(pretext: str, plans_name: str, configuration: str, exclude_fold: int | str | None = None) -> str:
    """Name of the pretraining folder inside ``nnUNet_results/DATASET``; each excluded fold has its own."""
    without = "" if exclude_fold is None else f"__without_fold_{exclude_fold}"
    return f"{FOLDER_PREFIX}{pretext}__{plans_name}__{configuration}{without}"


def find_finished(
    results_folder: Path, plans_name: str, configuration: str, exclude_fold: int | str | None = None
) -> list[Path]:
    """List the finished pretrainings of one dataset, plans and configuration, of any pretext.

    Args:
        results_folder: ``nnUNet_results/DATASET``.
        plans_name: nnU-Net plans identifier.
        configuration: nnU-Net configuration name.
        exclude_fold: Fold whose validation cases were excluded by ``--exclude-fold``; None for the folder of
            pretrainings without that flag.
    """
    name = folder_name("*", plans_name, configuration, exclude_fold)
    return sorted(results_folder.glob(f"{name}/{FINAL_NAME}"))


def pretext_of(folder: str) -> str:
    """The pretext in a name that `folder_name` made; another name comes back up to its first ``__``."""
    return folder.removeprefix(FOLDER_PREFIX).split("__")[0]


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that a reader sees the old file or the new one, never a part.

    The content goes to a temporary name in the same folder, is flushed to the disk, and is renamed.

    Raises:
        StorageError: If it cannot be written; what the file held stays.
    """
    try:
        _write(file, content)
    except Exception as error:
        reason = system_error_in(error)  # torch's own error tells nothing of a full disk
        if reason is None:
            raise
        raise storage_error(reason, file, _count_bytes(content)) from error


def _write(file: Path, content: dict[str, Any]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(file)
        flush_folder(file.parent)
    except BaseException:
        with suppress(OSError):  # where the folder has vanished
            Path(temporary).unlink(missing_ok=True)
        raise


def read(file: Path) -> dict[str, Any]:
    """Read a checkpoint of ours onto the CPU, whatever device wrote it, without unpickling code.

    Raises:
        CheckpointError: If the file is missing, damaged, would need to run code, or is of another kind.
    """
    content = read_safely(file)
    if not {"network_weights", "genesis"} <= content.keys():
        keys = sorted(map(str, content))
        raise CheckpointError(
            f"not a checkpoint of nnunet-genesis (it holds {keys})",
            where=file,
            mend="use a file that genesis-pretrain-nnunet wrote",
        )
    check_written_by_us(content, file)
    return content


def check_written_by_us(content: Mapping[str, Any], file: Path) -> None:
    """Make sure that this version can read a checkpoint, and that its weights are those that were written.

    Raises:
        CheckpointError: If the format is unknown, the checksum differs, or what it says of itself cannot be.
    """
    if not isinstance(content["genesis"], dict):
        raise CheckpointError(
            f"not a checkpoint of nnunet-genesis: its provenance is a {type(content['genesis']).__name__}",
            where=file,
            mend="use a file that genesis-pretrain-nnunet wrote",
        )
    version = content["genesis"].get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"format version {version!r} is unknown, this version reads {FORMAT_VERSION}",
            where=file,
            mend=UPDATE,
        )
    check_facts(content["genesis"], file)
    checksum = content["genesis"].get(CHECKSUM_KEY)
    weights = content["network_weights"]
    are_tensors = isinstance(weights, dict) and all(isinstance(value, torch.Tensor) for value in weights.values())
    if checksum is not None and not (are_tensors and checksum == weights_digest(weights)):
        raise CheckpointError(
            "the weights are not those that were written: their checksum differs, so bytes of the file were flipped",
            where=file,
            mend="copy or download the file again, or use another checkpoint of the same folder; it was left as it is",
        )


def sha256_of_file(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _count_bytes(content: Any) -> int:
    """Bytes of all tensors in plain containers, each counted once."""
    found: dict[int, int] = {}
    pending = [content]
    while pending:
        one = pending.pop()
        if isinstance(one, torch.Tensor):
            found[one.data_ptr()] = one.numel() * one.element_size()
        elif isinstance(one, (list, tuple)):
            pending += one
        elif isinstance(one, dict):
            pending += one.values()
    return sum(found.values())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
