"""Pretexts, one per file: each brings its pairs and its named losses; loop, checkpoint and monitor are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.pretraining.intensities import IntensityRange
    from nnunet_genesis.pretraining.pretexts.base import Pretext


def build_pretext(config: PretrainingConfig, patch_size: tuple[int, ...], intensities: IntensityRange) -> Pretext[Any]:
    """Make the pretext that a configuration names."""
    from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis

    pretexts = {"models-genesis": lambda: ModelsGenesis(config.models_genesis, patch_size, intensities)}
    return pretexts[config.pretext]()
