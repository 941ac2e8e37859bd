"""nnU-Net trainers that start from pretrained weights; their names follow one grammar (`grammar`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis._discovery import is_genesis_name

if TYPE_CHECKING:
    from nnunet_genesis.trainers.genesis import nnUNetTrainerGenesis


def __getattr__(name: str) -> type[nnUNetTrainerGenesis]:
    if not is_genesis_name(name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nnunet_genesis.trainers.genesis import build_trainer_class
    from nnunet_genesis.trainers.grammar import parse_trainer_name

    # Stored under its name, so that the same class comes back and pickle finds it in spawned processes.
    trainer_class = build_trainer_class(parse_trainer_name(name))
    globals()[name] = trainer_class
    return trainer_class
