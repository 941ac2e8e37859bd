"""The pretrained files that a user names, and how tables and pictures call them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_genesis import hub
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?:_[A-Za-z0-9.-]+)*")


@dataclass(frozen=True)
class Candidate:
    """A pretrained file under the name by which tables and pictures know it.

    Attributes:
        name: The name.
        address: As the user wrote it: a path or ``hf://...``.
        file: On this machine.
    """

    name: str
    address: str
    file: Path


def parse_initialisations(texts: Sequence[str]) -> list[Candidate]:
    """Read values of ``--initialisation`` and fetch what lies on the Hub.

    Args:
        texts: ``NAME=FILE``, or files alone, which are called after their folders.

    Raises:
        SetupError: If a name cannot be one, or is there twice.
        CheckpointError: If a file is missing.
    """
    from nnunet_genesis.probing.encoders import name_files

    named = [_split(text) for text in texts]
    guessed = iter(name_files([address for name, address in named if name is None]))
    candidates = [
        Candidate(_check_name(name or _tidy(next(guessed))), address, hub.resolve(address).absolute())
        for name, address in named
    ]
    # Names become folders' names, and some file systems know no capitals.
    names = [candidate.name.casefold() for candidate in candidates]
    twice = sorted({one.name for one in candidates if names.count(one.name.casefold()) > 1})
    if twice:
        raise SetupError(
            f"--initialisation: two files have the name {' and '.join(twice)}",
            mend=f"--initialisation {twice[0]}-2=FILE",
        )
    return candidates


def _split(text: str) -> tuple[str | None, str]:
    name, is_named, address = text.partition("=")
    return (name, address) if is_named and address else (None, text)


def _tidy(name: str) -> str:
    """A guessed name as one that can be a folder's."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name.removeprefix(hub.HUB_PREFIX)).strip("-.")


def _check_name(name: str) -> str:
    if name.casefold() == SCRATCH:
        raise SetupError(
            f"--initialisation {name}=...: that is the name of the control, which is always trained",
            mend="another name",
        )
    if not _NAME.fullmatch(name):
        raise SetupError(
            f"--initialisation: '{name}' cannot be a name: it becomes part of folders' names",
            mend="letters, digits, - and ., e.g. --initialisation models-genesis=FILE",
        )
    return name
