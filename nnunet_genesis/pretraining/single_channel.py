"""Pretraining with one input channel: of scans with several, every patch draws one.

So scans with other numbers of channels than the plans can be learned from together; the transfer spreads the stem over
the channels of the dataset (`nnunet_genesis.transfer.rules`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.data import CasePatches
from nnunet_genesis.pretraining.intensities import measure_range, plans_range
from nnunet_genesis.pretraining.seeds import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.data import Patch
    from nnunet_genesis.pretraining.intensities import IntensityRange


def single_channel_plans(planned: PlannedConfiguration) -> PlannedConfiguration:
    """The same plans for one channel, whichever it is.

    Raises:
        SetupError: If the plans normalise their channels in different ways: one channel would not stand for all.
    """
    if planned.num_channels == 1:
        return planned
    ways = {*zip(planned.normalization_schemes, planned.masked_normalization, strict=True)}
    if len(ways) > 1:
        named = zip(planned.channel_names, planned.normalization_schemes, strict=True)
        raise SetupError(
            "--single-channel: the plans normalise their channels in different ways: "
            + ", ".join(f"{name} by {scheme}" for name, scheme in named),
            where=planned.dataset_folder / f"{planned.plans_name}.json",
            mend="pretrain without --single-channel, or for a dataset with one of these channels",
        )
    preprocessing = dict(planned.preprocessing)
    return replace(
        planned,
        channel_names=(" or ".join(planned.channel_names),),
        normalization_schemes=planned.normalization_schemes[:1],
        masked_normalization=planned.masked_normalization[:1],
        foreground_intensities=planned.foreground_intensities[:1],
        preprocessing={
            **preprocessing,
            "channels": 1,
            "normalization_schemes": preprocessing["normalization_schemes"][:1],
            "use_mask_for_norm": preprocessing["use_mask_for_norm"][:1],
            "ct_intensities": {key: value for key, value in preprocessing["ct_intensities"].items() if key == "0"},
        },
    )


def learned_plans(planned: PlannedConfiguration, config: PretrainingConfig) -> PlannedConfiguration:
    """The plans of the network that a run trains: those of the dataset, or the same for one channel."""
    return single_channel_plans(planned) if config.single_channel else planned


def learned_range(
    planned: PlannedConfiguration, config: PretrainingConfig, samples: Sequence[npt.NDArray[np.float32]]
) -> IntensityRange:
    """The range of intensities that a run works with.

    One channel that stands for several of CT has the widest of their clip bounds: each was normalised by its own.

    Args:
        planned: The plans of the dataset.
        config: Of the run.
        samples: Voxels of some training cases, each (channels, voxels).

    Raises:
        DataError: If a channel is constant.
    """
    if not config.single_channel:
        return measure_range(planned, samples)
    found = measure_range(single_channel_plans(planned), join_channels(samples))
    bounds = [plans_range(planned, channel) for channel in range(planned.num_channels)]
    known = [bound for bound in bounds if bound is not None]
    if not known:
        return found
    return replace(found, low=(min(low for low, _ in known),), high=(max(high for _, high in known),))


def join_channels(samples: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """Samples (channels, voxels) of scans with any number of channels as samples (1, all voxels)."""
    return [sample.reshape(1, -1) for sample in samples]


class SingleChannelPatches(CasePatches):
    """Patches of which one channel is drawn; their labels say which.

    Args:
        patches: With any number of channels.
        seed: Decides, with the number of a patch, which channel it is.
    """

    def __init__(self, patches: CasePatches, seed: int) -> None:
        self.patches, self.seed = patches, seed

    def case_of(self, index: int) -> tuple[int, int]:
        """Number of the source, and of the case in it, that patch number `index` is of; nothing is read."""
        return self.patches.case_of(index)

    def __getitem__(self, index: int) -> Patch:
        """Patch number `index` as (1, *patch_size), with the label ``channel``."""
        voxels, inside, labels = self.patches[index]
        generator = np.random.default_rng([self.seed, int(Stream.CHANNELS), index])
        channel = int(generator.integers(len(voxels)))
        # A copy: a view would carry the other channels from the loader's process to this one.
        return voxels[channel : channel + 1].clone(), inside, {**labels, "channel": channel}


def with_channels_drawn(patches: CasePatches, config: PretrainingConfig) -> CasePatches:
    """The patches of a run: one channel of each, if that is what the run learns from."""
    return SingleChannelPatches(patches, config.seed) if config.single_channel else patches
