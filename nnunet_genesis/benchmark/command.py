"""The line that trains: nnU-Net's own command, and the variables that point it into the benchmark's folder."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis import __version__
from nnunet_genesis.errors import SetupError
from nnunet_genesis.trainers.cpu_autocast import CPU_AUTOCAST_VARIABLE
from nnunet_genesis.trainers.leaks import REFUSE_VARIABLE, VALIDATION_FOUND, VALIDATION_ONLY
from nnunet_genesis.trainers.pretrained_file import CHECKPOINT_VARIABLE
from nnunet_genesis.trainers.seeding import SEED_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.run_folder import RunFolder
    from nnunet_genesis.benchmark.runs import Run

COMMAND = "nnUNetv2_train"
_PACKAGES = ("nnunetv2", "torch", "numpy", "batchgeneratorsv2", "monai")


@dataclass(frozen=True)
class Command:
    """A command line and the environment variables that belong to it.

    Attributes:
        words: The command and its arguments.
        variables: Set for it; None for those that must not be set.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str | None]

    def __str__(self) -> str:
        """As a user could type it."""
        unset = [f"-u {name}" for name, value in self.variables.items() if value is None]
        assigned = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items() if value is not None]
        return " ".join(["env", *unset, *assigned, shlex.join(self.words)])

    def environment(self) -> dict[str, str]:
        """The variables of this process, with these."""
        inherited = {name: value for name, value in os.environ.items() if name not in self.variables}
        return {**inherited, **{name: value for name, value in self.variables.items() if value is not None}}


def training_command(run: Run, record: Record, preprocessed: Path, run_folder: RunFolder) -> Command:
    """The command of a training.

    Args:
        run: The training.
        record: Of the benchmark.
        preprocessed: What ``nnUNet_preprocessed`` is for it.
        run_folder: Of the training.
    """
    settings = record.settings
    words = (
        *(COMMAND, settings.dataset, settings.configuration, str(run.fold)),
        *("-tr", run.trainer, "-p", settings.plans, "-device", settings.device),
    )
    told = record.initialisations.get(run.key.initialisation)
    # What the user trusts, because it could not be checked, is not refused by the trainer; what it finds is.
    refused = None if told is None else VALIDATION_FOUND if told["unchecked"] else VALIDATION_ONLY
    return Command(
        words,
        {
            "nnUNet_preprocessed": str(preprocessed.absolute()),
            "nnUNet_results": str(run_folder.results.absolute()),
            CHECKPOINT_VARIABLE: None if told is None else told["file"],
            SEED_VARIABLE: str(run.key.seed),
            REFUSE_VARIABLE: refused,
            CPU_AUTOCAST_VARIABLE: settings.cpu_autocast,
        },
    )


def find_command() -> str:
    """nnU-Net's command beside this Python, else on the path.

    Raises:
        SetupError: If there is none.
    """
    beside = shutil.which(COMMAND, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(COMMAND)
    if found is None:
        raise SetupError(f"{COMMAND} is not on the path", mend="activate the environment that nnU-Net is installed in")
    return found


def package_versions() -> dict[str, str]:
    """Versions of what decides over a training."""
    return {
        "nnunet_genesis": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }
