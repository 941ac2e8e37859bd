"""One vector per patch from a pretrained encoder: the average of its deepest stage, where pretexts put their heads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from torch.nn.functional import pad

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from nnunet_genesis.encoder import PretrainedEncoder
    from nnunet_genesis.plans import PlannedConfiguration

LOGGER = logging.getLogger("nnunet_genesis")


def pool_deepest(encoder: PretrainedEncoder, patches: torch.Tensor) -> torch.Tensor:
    """Average the deepest stage over space.

    Patches of a size that the encoder does not take are padded with zeros on both sides, as nnU-Net pads scans that are
    smaller than a patch; the average is that of the padded patch.

    Args:
        encoder: Any.
        patches: (patches, channels, *spatial), normalised as in the pretraining.

    Returns:
        (patches, features).
    """
    size = patches.shape[2:]
    missing = [wanted - side for side, wanted in zip(size, encoder.fitting_size(size), strict=True)]
    if any(missing):
        patches = pad(patches, [part for count in reversed(missing) for part in (count // 2, count - count // 2)])
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
