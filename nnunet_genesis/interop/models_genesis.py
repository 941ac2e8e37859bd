"""Recognise the weights that the authors of Models Genesis published with their own 3D U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.interop.names import unwrapped_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PARTS = ("down_tr64.ops.", "down_tr128.ops.", "down_tr256.ops.", "down_tr512.ops.")


def is_models_genesis(names: Iterable[str]) -> bool:
    """Whether tensors belong to the original network of Models Genesis, with or without its decoder."""
    plain = [unwrapped_name(name) for name in names]
    return all(any(name.startswith(part) for name in plain) for part in _PARTS)


def refusal(file: Path) -> CheckpointError:
    """Why these weights go into no network of nnU-Net, and what to do instead."""
    return CheckpointError(
        "the file holds the original network of Models Genesis (e.g. Genesis_Chest_CT.pt): a 3D U-Net with batch"
        " normalisation, max-pooling and 64 to 512 features, which no plans of nnU-Net build: its filters would see"
        " other inputs and compute something else",
        where=file,
        mend="pretrain the network of your plans: genesis-pretrain-nnunet DATASET; or use the authors' weights for"
        " nnU-Net v1, genesis_nnunet_luna16_006.model",
    )
