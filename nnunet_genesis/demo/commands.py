"""Run the commands that a user would type: printed first, logged completely."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from nnunet_genesis.errors import GenesisError
from nnunet_genesis.executables import find_executable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_genesis.demo.console import Console

_LOG_TAIL_LINES = 15
_LOOK_SECONDS = 0.5
# Inherited settings of nnU-Net would change what the demonstration does; only the way to find trainers is kept.
_KEPT_VARIABLE = "nnUNet_extTrainer"


@dataclass(frozen=True)
class Command:
    """One command of the demonstration.

    Attributes:
        name: Name of the stage and of its log file.
        why: One line that says what the command does and why.
        words: The command line.
        variables: Environment variables of this command alone.
    """

    name: str
    why: str
    words: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return the command as one would type it."""
        assignments = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        return " ".join([*assignments, shlex.join(self.words)])


def environment(data: Path) -> dict[str, str]:
    """Return the variables that tell nnU-Net where its folders are, and keep it modest on a small or shared machine."""
    return {
        "nnUNet_raw": str(data / "nnUNet_raw"),
        "nnUNet_preprocessed": str(data / "nnUNet_preprocessed"),
        "nnUNet_results": str(data / "nnUNet_results"),
        "nnUNet_compile": "0",
        "nnUNet_def_n_proc": "2",
        # Threads that wait sleep instead of spinning: when others use the cores too, that is several times faster.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def exports(variables: Mapping[str, str]) -> list[str]:
    """Return the lines that set these variables in a shell."""
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def run(command: Command, variables: Mapping[str, str], log: Path, console: Console) -> None:
    """Print a command, run it as a stage and wait for it; its complete output goes to the log file.

    Args:
        command: What to run.
        variables: Environment variables of all commands, see `environment`.
        log: File for the output.
        console: Shows the command and its last line of output.

    Raises:
        GenesisError: If the executable is missing or fails; it names the command and the log and shows the log's end.
    """
    console.say(f"\n# {command.why}\n$ {command.line()}")
    executable = find_executable(command.words[0])
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("nnUNet_") or name == _KEPT_VARIABLE
    }
    with console.stage(command.name), log.open("w", encoding="utf-8") as file:
        file.write(f"$ {command.line()}\n")
        with subprocess.Popen(
            [executable, *command.words[1:]],
            env={**inherited, "PYTHONUNBUFFERED": "1", **variables, **command.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                status = _watch(process, file, console)
            finally:
                # Reached with a living process only when this one is interrupted.
                process.kill()
    if status != 0:
        tail = "\n".join(f"    {line}" for line in _tail(log))
        raise GenesisError(
            f"this command of the demonstration failed with exit status {status}:\n    {command.line()}\n"
            f"  the end of its output:\n{tail}",
            where=log,
            mend="read the log; once the cause is mended, run the demonstration again with a new --output folder",
        )


def _watch(process: subprocess.Popen[str], file: IO[str], console: Console) -> int:
    """Copy the output of a process to a file until it ends; return its exit status."""
    last_line = [""]

    def copy(stream: IO[str]) -> None:
        for line in stream:
            file.write(line)
            last_line[0] = line.strip() or last_line[0]

    if process.stdout is None:
        raise ValueError("the process was started without a pipe")
    reader = threading.Thread(target=copy, args=(process.stdout,), daemon=True)
    reader.start()
    while True:
        try:
            status = process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            console.tick(last_line[0])
            continue
        reader.join()
        return status


def _tail(log: Path) -> list[str]:
    lines = [line.rstrip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[-_LOG_TAIL_LINES:]
