"""One vector per patch from a pretrained encoder: the average of its deepest stage, where pretexts put their heads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nnunet_genesis.encoder import PretrainedEncoder
    from nnunet_genesis.plans import PlannedConfiguration

LOGGER = logging.getLogger("nnunet_genesis")


def pool_deepest(encoder: PretrainedEncoder, patches: torch.Tensor) -> torch.Tensor:
    """Average the deepest stage over space.

    Args:
        encoder: Any.
        patches: (patches, channels, *spatial), normalised as in the pretraining.

    Returns:
        (patches, features).
    """
    deepest: torch.Tensor = encoder(patches)[-1]
    return deepest.flatten(2).mean(2)


def check_fits(encoder: PretrainedEncoder, planned: PlannedConfiguration, file: str | Path, flag: str) -> None:
    """Make sure that an encoder takes the patches of these plans; warn where its voxels are of another size.

    Args:
        encoder: Any.
        planned: The plans of the patches.
        file: Where the encoder comes from.
        flag: How the user named it, for the message.

    Raises:
        SetupError: If the encoder has another number of axes than the patches.
    """
    axes = len(encoder.strides[0])
    if axes != len(planned.patch_size):
        raise SetupError(
            f"{flag}: the encoder is {axes}D, the configuration {planned.configuration} is {len(planned.patch_size)}D",
            where=file,
            mend=f"name an encoder that was trained on such patches, or leave {flag} out",
        )
    if encoder.spacing is not None and not np.allclose(encoder.spacing, planned.spacing, rtol=0.25):
        LOGGER.warning(
            "%s: the encoder was trained at %s mm per voxel, these scans have %s mm: they may tell little",
            flag,
            tuple(encoder.spacing),
            planned.spacing,
        )
