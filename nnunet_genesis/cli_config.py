"""From flags to the configuration of a run; shared by pretraining, its preview and the discovery of its classes."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from nnunet_genesis.cli_pretexts import resolve_pretext
from nnunet_genesis.cli_sources import resolve_sources
from nnunet_genesis.config import DEFAULT_LEARNING_RATES, DEFAULT_PRETEXT, PretrainingConfig
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.processes import count_processes

if TYPE_CHECKING:
    import argparse

    from nnunet_genesis.plans import PlannedConfiguration


def add_plans_flags(parser: argparse.ArgumentParser) -> None:
    """Add the dataset, and which of its plans and configurations is meant."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="name or id of a preprocessed dataset, e.g. Dataset003_Liver or 3")
    add("-c", dest="configuration", default="3d_fullres", help="nnU-Net configuration (default: %(default)s)")
    add("-p", dest="plans", default="nnUNetPlans", help="nnU-Net plans identifier (default: %(default)s)")


def choose_workers(given: int | None, default: int) -> int:
    """What ``-np`` says, else the default.

    Raises:
        SetupError: If the number is negative.
    """
    if given is not None and given < 0:
        raise SetupError(f"-np {given}: must not be negative", mend="-np 2")
    return default if given is None else given


def resolve_config(
    options: argparse.Namespace, planned: PlannedConfiguration, stored: dict[str, Any] | None = None
) -> PretrainingConfig:
    """Explicit flags over the stored settings of a continued run, else over the defaults.

    Args:
        options: Parsed flags; those that are named as a setting are its value, where they are not None.
        planned: The dataset's plans.
        stored: Settings of the run that is continued.

    Raises:
        SetupError: If a value cannot work, or a flag does not suit the pretext.
    """
    names = {field.name for field in fields(PretrainingConfig)}
    explicit = {name: value for name, value in vars(options).items() if name in names and value is not None}
    pretext = options.pretext or (stored["pretext"] if stored else DEFAULT_PRETEXT)
    before = PretrainingConfig.from_dict({"batch_size": 1, **(stored or {}), "pretext": pretext})
    explicit |= resolve_pretext(options, before)
    explicit |= resolve_sources(options, planned)
    if stored is not None:
        return PretrainingConfig.from_dict({**stored, **explicit})
    if (
        pretext != "universal-model"
        and getattr(options, "pretext_modality", None)
        and options.source_weights != "modality"
    ):
        raise SetupError(
            f"--modality changes nothing with --pretext {pretext} and without --source-weights modality",
            mend="--source-weights modality, or leave --modality out",
        )
    processes = math.prod(count_processes(options.num_gpus))
    # The plans' batch, rounded up to what the processes can share.
    batch_size = math.ceil(planned.batch_size / processes) * processes
    settings = {"pretext": pretext, "batch_size": batch_size, **explicit}
    if pretext == "universal-model":
        settings.setdefault("source_weights", "modality")
    settings.setdefault("learning_rate", DEFAULT_LEARNING_RATES[settings.get("optimizer", "adamw")])
    return PretrainingConfig(**settings)
