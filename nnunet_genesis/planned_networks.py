"""The networks that a dataset's plans describe, whether or not their configurations are preprocessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import GenesisError
from nnunet_genesis.json_reading import read_json_object
from nnunet_genesis.networks import build_planned_network
from nnunet_genesis.nnunet_folders import find_dataset_folder
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.plans_files import plan_again, read_dataset_json, unusable_plans

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import nn

_NO_PLANS = ("dataset.json", "splits_final.json", "dataset_fingerprint.json")


@dataclass(frozen=True)
class PlannedNetwork:
    """The network of one configuration of one plans file.

    Attributes:
        file: The plans.
        plans_name: nnU-Net plans identifier.
        configuration: nnU-Net configuration.
        architecture: The ``architecture`` entry of the configuration.
        image_channels: Input channels that are images.
        input_channels: All input channels; in the second stage of a cascade, the previous stage's segmentation is one
            channel per foreground label.
        num_outputs: Channels of the segmentation heads.
        patch_size: Voxels per axis.
        spacing: Millimetres per axis of the patch.
        normalization_schemes: nnU-Net's normalisation class per channel.
    """

    file: Path
    plans_name: str
    configuration: str
    architecture: Mapping[str, Any]
    image_channels: int
    input_channels: int
    num_outputs: int
    patch_size: tuple[int, ...]
    spacing: tuple[float, ...]
    normalization_schemes: tuple[str, ...]

    def build(self) -> nn.Module:
        """Build the segmentation network.

        Raises:
            SetupError: If the plans describe none, or one that is larger than this machine's memory.
        """
        return build_planned_network(self.architecture, self.input_channels, self.num_outputs, self.file)


def list_planned_networks(dataset_name_or_id: str) -> list[PlannedNetwork]:
    """All networks of all plans of a dataset, sorted by name.

    Raises:
        SetupError: If the dataset is unknown, or a file of it cannot be used.
    """
    folder = find_dataset_folder(dataset_name_or_id)
    dataset_json = read_dataset_json(folder / "dataset.json")
    networks: list[PlannedNetwork] = []
    for file in sorted(folder.glob("*.json")):
        if file.name in _NO_PLANS:
            continue
        plans = read_json_object(file, plan_again(folder.name))
        if "configurations" not in plans or "plans_name" not in plans:
            continue
        try:
            networks += _networks_of(plans, dataset_json, file)
        except GenesisError:
            raise
        except Exception as error:
            raise unusable_plans(error, file) from error
    return networks


def _networks_of(plans: dict[str, Any], dataset_json: dict[str, Any], file: Path) -> Iterator[PlannedNetwork]:
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    for name in sorted(plans["configurations"]):
        settings = manager.get_configuration(name)
        if "architecture" not in settings.configuration:
            continue
        yield PlannedNetwork(
            file=file,
            plans_name=file.stem,
            configuration=name,
            architecture=settings.configuration["architecture"],
            image_channels=len(read_channel_names(dataset_json)),
            input_channels=determine_num_input_channels(manager, settings, dataset_json),
            num_outputs=manager.get_label_manager(dataset_json).num_segmentation_heads,
            patch_size=tuple(int(n) for n in settings.patch_size),
            spacing=tuple(float(mm) for mm in settings.spacing)[-len(settings.patch_size) :],
            normalization_schemes=tuple(settings.normalization_schemes),
        )
