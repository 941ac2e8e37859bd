"""Read a plain state dict of a network of nnU-Net v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.interop.names import tidy
from nnunet_genesis.interop.source import SourceModel
from nnunet_genesis.transfer.names import encoder_family

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

KIND = "state dict"


def convert(weights: Mapping[str, torch.Tensor], file: Path) -> SourceModel:
    """Take tensors that nothing else describes.

    Raises:
        CheckpointError: If their names are not those of nnU-Net's U-Nets, or if they are not finite.
    """
    tidied = tidy(weights, file)
    if encoder_family(tidied) is None:
        raise CheckpointError(
            f"the file holds {len(tidied)} tensors, but no encoder with the names of nnU-Net's U-Nets"
            f" (encoder.stages.0.0.convs... or encoder.stages.0.blocks...); its tensors begin with"
            f" {', '.join(list(tidied)[:3])}",
            where=file,
            mend="rename its tensors to those of the network of your plans, or use a checkpoint of nnU-Net, nnssl or"
            " genesis-pretrain-nnunet",
        )
    return SourceModel(KIND, file, tidied)
