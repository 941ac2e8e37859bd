"""Files on the Hugging Face Hub: ``hf://user/repo[/file][@revision]`` wherever a file is asked for.

Downloads go through huggingface_hub, so its cache, its resumed downloads, its tokens and its environment variables
(``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_TOKEN``) hold here, too.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nnunet_genesis.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable

LOGGER = logging.getLogger("nnunet_genesis")
HUB_PREFIX = "hf://"
FINAL_NAME = "checkpoint_final.pth"
SUFFIXES = (".pth", ".safetensors")
CARD_NAME = "README.md"
_ADDRESS = re.compile(r"^hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[^@]+))?$")
_FORM = "write hf://user/repo, hf://user/repo/file.pth or hf://user/repo/file.pth@revision"


@dataclass(frozen=True)
class Address:
    """A file on the Hub.

    Attributes:
        repo: ``user/repo``.
        file: Path inside the repository, or None for its only checkpoint.
        revision: Branch, tag or commit.
    """

    repo: str
    file: str | None = None
    revision: str = "main"

    def __str__(self) -> str:
        """As users write it."""
        file = "" if self.file is None else f"/{self.file}"
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"{HUB_PREFIX}{self.repo}{file}{revision}"


def is_address(text: str | Path) -> bool:
    """Whether a text means a file on the Hub; `Path` has made one slash of two."""
    return (text.as_posix() if isinstance(text, Path) else text).startswith("hf:/")


def parse(text: str | Path) -> Address:
    """Take an address apart.

    Raises:
        CheckpointError: If it is malformed.
    """
    text = text.as_posix() if isinstance(text, Path) else text
    found = _ADDRESS.match(text)
    file = found["file"] if found else None
    if found is None or (file is not None and not set(PurePosixPath(file).parts).isdisjoint({"..", "/"})):
        raise CheckpointError(f"'{text}' is no address of a file on the Hugging Face Hub", mend=_FORM)
    return Address(found["repo"], file, found["revision"] or "main")


def resolve(text: str | Path) -> Path:
    """Find a file on this machine, and fetch it first where the text is an address on the Hub.

    Without a file, the repository's ``checkpoint_final.pth`` is taken, else its only ``.pth`` or ``.safetensors``.
    Without a connection the cached file is taken, with a warning.

    Args:
        text: A path, or ``hf://user/repo[/file][@revision]`` with a branch, tag or commit as revision.

    Returns:
        The path as it was given, or the file in huggingface_hub's cache.

    Raises:
        CheckpointError: If there is no such file, if it may not be fetched, or if there is neither a connection nor a
            cached file.
    """
    if is_address(text):
        from nnunet_genesis import hub_download

        return hub_download.fetch(parse(text))
    path = Path(text)
    if path.is_dir():
        raise CheckpointError(
            "this is a folder, not a file", where=path, mend=f"name the file: {_listed(_checkpoints_in(path))}"
        )
    if not path.is_file():
        raise CheckpointError("no such checkpoint", where=path, mend="check the path")
    return path


def choose(address: Address, files: Iterable[str]) -> str:
    """Name the file that an address means.

    Args:
        address: The address.
        files: All files of the repository.

    Raises:
        CheckpointError: If the file is not there, or if there is none or several to choose from.
    """
    files = sorted(files)
    candidates = [file for file in files if file.endswith(SUFFIXES)]
    if address.file is not None:
        if address.file in files:
            return address.file
        raise CheckpointError(
            f"{address.repo} has no file {address.file} at {address.revision};"
            f" checkpoints in it: {_listed(candidates)}",
            where=str(address),
            mend=_FORM,
        )
    if FINAL_NAME in candidates:
        return FINAL_NAME
    if len(candidates) == 1:
        return candidates[0]
    problem = "several checkpoints and none is the" if candidates else "no checkpoint, neither a"
    raise CheckpointError(
        f"{address.repo} holds {problem} {FINAL_NAME}"
        + (f": {_listed(candidates)}" if candidates else f" nor another {' or '.join(SUFFIXES)}"),
        where=str(address),
        mend="name one: " + str(Address(address.repo, (candidates or ["FILE"])[0], address.revision)),
    )


def push(file: Path, repo: str, *, private: bool = False) -> str:
    """Upload a checkpoint of ours with a model card made from its provenance, as one commit.

    The repository is made where it does not exist. Files that are there already are not replaced. In the pushed
    file, cases are known by the hash of their voxels alone.

    Args:
        file: A checkpoint that genesis-pretrain-nnunet wrote.
        repo: ``user/repo``.
        private: Make a private repository.

    Returns:
        URL of the repository.

    Raises:
        CheckpointError: If the file is not ours, if the repository holds such files or is public in spite of
            `private`, or if the Hub refuses.
    """
    from nnunet_genesis import hub_upload

    return hub_upload.upload(file, parse(f"{HUB_PREFIX}{repo.removeprefix(HUB_PREFIX)}"), private=private)


def _checkpoints_in(folder: Path) -> list[str]:
    return [str(file) for suffix in SUFFIXES for file in sorted(folder.glob(f"*{suffix}"))]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "there is none"
