"""Errors that a user can act on: what is wrong, where, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

UPDATE = "update nnunet-genesis: git pull and pip install . in its checkout"
"""What mends files of later versions."""


class GenesisError(Exception):
    """A mistake in the call, the data or the environment, told in words that a user can act on.

    Args:
        problem: What is wrong, with the offending value.
        where: The file, folder or case it concerns.
        mend: The command or edit that mends it.
    """

    def __init__(self, problem: str, *, where: str | Path | None = None, mend: str | None = None) -> None:
        self.problem, self.where, self.mend = problem, where, mend
        lines = [printable(problem, "\n")]
        if where is not None:
            lines.append(f"  where: {printable(str(where))}")
        if mend is not None:
            lines.append(f"  to mend it: {printable(mend, chr(10))}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the three parts when the error crosses a process boundary."""
        return (_rebuild, (type(self), self.problem, self.where, self.mend))


def printable(text: str, but: str = "") -> str:
    """A text as a terminal can show it: names of files may hold line breaks, escape sequences and no UTF-8 at all.

    Args:
        text: Anything.
        but: Letters that stay though they are not printable.
    """
    return "".join(
        letter if letter.isprintable() or letter in but else letter.encode("unicode_escape").decode() for letter in text
    )


class SetupError(GenesisError):
    """The environment, the dataset, the plans or the flags are not what the command needs."""


class DataError(GenesisError):
    """A preprocessed case or a folder of cases cannot be used."""


class StorageError(GenesisError):
    """A file or folder cannot be written: full disk, read-only, no permission, vanished."""


class CheckpointError(GenesisError):
    """A checkpoint is missing, damaged, unsafe or of another kind."""


class TransferError(GenesisError):
    """Weights do not fit the network that they are meant for."""


class TrainerNameError(GenesisError):
    """A trainer name starts like ours but does not follow the grammar."""


def _rebuild(kind: type[GenesisError], problem: str, where: str | None, mend: str | None) -> GenesisError:
    return kind(problem, where=where, mend=mend)
