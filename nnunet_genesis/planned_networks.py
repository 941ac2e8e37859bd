"""The networks that a dataset's plans describe, whether or not their configurations are preprocessed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import GenesisError, printable
from nnunet_genesis.networks import build_planned_network
from nnunet_genesis.nnunet_folders import find_dataset_folder
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.plans_files import find_plans, read_dataset_json, unusable_plans

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import nn

LOGGER = logging.getLogger("nnunet_genesis")


@dataclass(frozen=True)
class PlannedNetwork:
    """The network of one configuration of one plans file.

    Attributes:
        file: The plans.
        plans_name: nnU-Net plans identifier.
        configuration: nnU-Net configuration.
        architecture: The ``architecture`` entry of the configuration.
        channel_names: Of the input channels that are images.
        input_channels: All input channels; in the second stage of a cascade, the previous stage's segmentation is one
            channel per foreground label.
        num_outputs: Channels of the segmentation heads.
        patch_size: Voxels per axis.
        spacing: Millimetres per axis of the patch.
        normalization_schemes: nnU-Net's normalisation class per channel.
        foreground_intensities: nnU-Net's foreground statistics per channel, in raw units; empty ones if there are none.
    """

    file: Path
    plans_name: str
    configuration: str
    architecture: Mapping[str, Any]
    channel_names: tuple[str, ...]
    input_channels: int
    num_outputs: int
    patch_size: tuple[int, ...]
    spacing: tuple[float, ...]
    normalization_schemes: tuple[str, ...]
    foreground_intensities: tuple[Mapping[str, float], ...]

    @property
    def image_channels(self) -> int:
        """Input channels that are images."""
        return len(self.channel_names)

    def build(self) -> nn.Module:
        """Build the segmentation network.

        Raises:
            SetupError: If the plans describe none, or one that is larger than this machine's memory.
        """
        return build_planned_network(self.architecture, self.input_channels, self.num_outputs, self.file)


def list_planned_networks(dataset_name_or_id: str, asked: str | None = None) -> list[PlannedNetwork]:
    """All networks of all plans of a dataset, sorted by name.

    Args:
        dataset_name_or_id: ``Dataset004_Hippocampus`` or ``4``.
        asked: Name of the plans that are needed. Others that cannot be used are left out, with a warning.

    Raises:
        SetupError: If the dataset is unknown, or its description or the plans that are asked for cannot be used.
    """
    folder = find_dataset_folder(dataset_name_or_id)
    dataset_json = read_dataset_json(folder / "dataset.json")
    networks: list[PlannedNetwork] = []
    for file, plans in find_plans(folder, asked):
        if "plans_name" not in plans:
            continue
        try:
            networks += _networks_of(plans, dataset_json, file)
        except Exception as error:
            told = error if isinstance(error, GenesisError) else unusable_plans(error, file)
            if file.stem == asked:
                raise told from error
            LOGGER.warning("%s is left out: %s", printable(file.name), printable(told.problem))
    return networks


def _networks_of(plans: dict[str, Any], dataset_json: dict[str, Any], file: Path) -> Iterator[PlannedNetwork]:
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    channels = read_channel_names(dataset_json)
    keys = sorted(channels, key=int)
    intensities = plans.get("foreground_intensity_properties_per_channel") or {}
    for name in sorted(plans["configurations"]):
        settings = manager.get_configuration(name)
        if "architecture" not in settings.configuration:
            continue
        yield PlannedNetwork(
            file=file,
            plans_name=file.stem,
            configuration=name,
            architecture=settings.configuration["architecture"],
            channel_names=tuple(str(channels[key]) for key in keys),
            input_channels=determine_num_input_channels(manager, settings, dataset_json),
            num_outputs=manager.get_label_manager(dataset_json).num_segmentation_heads,
            patch_size=tuple(int(n) for n in settings.patch_size),
            spacing=tuple(float(mm) for mm in settings.spacing)[-len(settings.patch_size) :],
            normalization_schemes=tuple(settings.normalization_schemes),
            foreground_intensities=tuple(dict(intensities.get(key, {})) for key in keys),
        )
