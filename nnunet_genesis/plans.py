"""One typed view of a preprocessed dataset, its plans and one configuration.

The only module that touches nnU-Net's managers; everything else sees `PlannedConfiguration`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_genesis.checkpoint import folder_name
from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.json_reading import read_json_object
from nnunet_genesis.networks import build_planned_network
from nnunet_genesis.nnunet_folders import find_dataset_name, folder_from_environment
from nnunet_genesis.plans_checks import check_planned, check_plans_name, is_plain_name, is_side
from nnunet_genesis.plans_files import plan_again, read_dataset_json, read_splits, unusable_plans
from nnunet_genesis.preprocessing_facts import describe_preprocessing
from nnunet_genesis.upstream import check_upstream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn


@dataclass(frozen=True)
class PlannedConfiguration:
    """What pretraining needs to know of a dataset under one configuration of its plans.

    Attributes:
        dataset_name: E.g. ``Dataset004_Hippocampus``.
        plans_name: nnU-Net plans identifier, e.g. ``nnUNetPlans``.
        configuration: nnU-Net configuration, e.g. ``3d_fullres``.
        dataset_folder: ``nnUNet_preprocessed/DATASET``.
        cases_folder: Folder of the preprocessed cases of this configuration.
        results_folder: ``nnUNet_results/DATASET``.
        patch_size: Voxels per axis, two or three entries, in the order of the preprocessed arrays.
        batch_size: Patches per step over all devices.
        spacing: Millimetres per axis of the preprocessed arrays (two entries in 2D).
        channel_names: One name per image channel.
        normalization_schemes: nnU-Net's normalisation class name per channel.
        masked_normalization: Per channel, whether voxels outside the nonzero mask are left at exactly 0.
        foreground_intensities: Per channel, nnU-Net's foreground statistics in raw units (mean, std, percentiles).
        architecture: The ``architecture`` entry of the configuration.
        data_identifier: Name of the folder of preprocessed cases, several configurations may share one.
        preprocessing: What decides how an image becomes a preprocessed array, see `describe_preprocessing`.
        plans: The whole plans file, for provenance.
    """

    dataset_name: str
    plans_name: str
    configuration: str
    dataset_folder: Path
    cases_folder: Path
    results_folder: Path
    patch_size: tuple[int, ...]
    batch_size: int
    spacing: tuple[float, ...]
    channel_names: tuple[str, ...]
    normalization_schemes: tuple[str, ...]
    masked_normalization: tuple[bool, ...]
    foreground_intensities: tuple[Mapping[str, float], ...]
    architecture: Mapping[str, Any]
    data_identifier: str
    preprocessing: Mapping[str, Any]
    plans: Mapping[str, Any]

    @property
    def pools_folder(self) -> Path:
        """Folder of the pools of unlabeled scans, each a folder of its own."""
        return self.dataset_folder / f"{self.data_identifier}__unlabeled"

    def pretraining_folder(self, pretext: str, exclude_fold: int | None) -> Path:
        """Where a pretraining is written unless the user names another folder."""
        return self.results_folder / folder_name(pretext, self.plans_name, self.configuration, exclude_fold)

    @property
    def num_channels(self) -> int:
        """Number of image channels."""
        return len(self.channel_names)

    def total_strides(self) -> tuple[int, ...]:
        """Voxels per cell of the deepest encoder stage, along every axis of a patch.

        Raises:
            SetupError: If the plans name no strides.
        """
        num_axes = len(self.patch_size)
        strides = self._architecture_setting("strides")
        if not isinstance(strides, (list, tuple)):
            raise self._unusable_setting("strides", strides)
        per_stage = [stride if isinstance(stride, (list, tuple)) else [stride] * num_axes for stride in strides]
        if not all(len(stride) == num_axes and all(map(is_side, stride)) for stride in per_stage):
            raise self._unusable_setting("strides", strides)
        total = tuple(math.prod(axis) for axis in zip(*per_stage, strict=True))
        if not all(map(is_side, total)):
            raise self._unusable_setting("strides", strides)
        return total

    def deepest_features(self) -> int:
        """Channels of the deepest encoder stage.

        Raises:
            SetupError: If the plans do not name them.
        """
        features = self._architecture_setting("features_per_stage")
        deepest = features[-1] if isinstance(features, (list, tuple)) else features
        if not is_side(deepest):
            raise self._unusable_setting("features_per_stage", features)
        return int(deepest)

    def _architecture_setting(self, name: str) -> Any:
        value = self.architecture["arch_kwargs"].get(name)
        if not value:
            raise SetupError(
                f"the network of {self.plans_name} has no {name.replace('_', ' ')}, which this pretext needs",
                where=self.dataset_folder / f"{self.plans_name}.json",
                mend="--pretext models-genesis works with any network (or --mask-block 16, for the masked ones)",
            )
        return value

    def _unusable_setting(self, name: str, value: Any) -> SetupError:
        return SetupError(
            f"the network of {self.plans_name} has {name.replace('_', ' ')} that are none: {str(value)[:200]!r}",
            where=self.dataset_folder / f"{self.plans_name}.json",
            mend=plan_again(self.dataset_name),
        )

    def build_restoration_network(self) -> nn.Module:
        """Build the network of the plans with as many outputs as image channels and without deep supervision.

        Returns:
            Network mapping (batch, channels, *patch_size) to the same shape, initialised as nnU-Net does.

        Raises:
            SetupError: If the plans describe no network, or one that is larger than this machine's memory.
        """
        where = self.dataset_folder / f"{self.plans_name}.json"
        return build_planned_network(self.architecture, self.num_channels, self.num_channels, where)

    def validation_cases(self, fold: int, flag: str = "--exclude-fold") -> list[str]:
        """Identifiers of the validation cases of a fold, as ``nnUNetv2_train`` will choose them.

        Reads ``splits_final.json``; where nnU-Net has not written it yet, makes the same split without writing it.

        Args:
            fold: Its number.
            flag: Of the command line, that named the fold.

        Raises:
            SetupError: If the fold does not exist.
        """
        splits_file = self.dataset_folder / "splits_final.json"
        if splits_file.is_file():
            splits = read_splits(splits_file)
        else:
            from nnunetv2.utilities.crossval_split import generate_crossval_split

            cases = list_cases(self.cases_folder) if self.cases_folder.is_dir() else []
            if len(cases) < 5:
                raise SetupError(
                    f"{flag} {fold}: nnU-Net cannot make 5 folds of {len(cases)} cases",
                    where=self.cases_folder,
                    mend=f"write splits_final.json yourself, or leave {flag} out",
                )
            splits = generate_crossval_split(cases, seed=12345, n_splits=5)
        if not 0 <= fold < len(splits):
            raise SetupError(
                f"{flag} {fold}: there are {len(splits)} folds, 0 to {len(splits) - 1}",
                where=splits_file,
                mend=f"{flag} 0 ... {flag} {len(splits) - 1}; nnU-Net trains further ones on a random split: name the"
                " validation cases of that in a list, --exclude FILE",
            )
        return [str(case) for case in splits[fold]["val"]]


def load_planned_configuration(
    dataset_name_or_id: str,
    plans_name: str = "nnUNetPlans",
    configuration: str = "3d_fullres",
    *,
    needs_cases: bool = True,
    needs_own_name: bool = True,
) -> PlannedConfiguration:
    """Open a preprocessed dataset under one configuration of its plans.

    Args:
        dataset_name_or_id: ``Dataset004_Hippocampus`` or ``4``, as nnU-Net accepts them.
        plans_name: Plans identifier.
        configuration: Configuration name.
        needs_cases: Whether the dataset's own cases must be preprocessed; without, only its plans are needed.
        needs_own_name: Whether the plans must call themselves what their file is called; without, nothing may be
            trained by them, only their preprocessed cases are read.

    Raises:
        SetupError: If an environment variable, the dataset, the plans, the configuration or the preprocessed folder
            is missing, or the plans have another name than their file; the message names what mends it.
    """
    preprocessed = folder_from_environment("nnUNet_preprocessed")
    results = folder_from_environment("nnUNet_results", must_exist=False)
    dataset_name = find_dataset_name(preprocessed, dataset_name_or_id)
    dataset_id = int(dataset_name[7:10])
    dataset_folder = preprocessed / dataset_name
    if not is_plain_name(plans_name):
        raise SetupError(f"-p {plans_name!r:.100}: no name of plans", where=dataset_folder, mend="-p nnUNetPlans")
    plans_file = dataset_folder / f"{plans_name}.json"
    dataset_file = dataset_folder / "dataset.json"
    for file in (plans_file, dataset_file):
        if not file.is_file():
            others = sorted(path.stem for path in dataset_folder.glob("*Plans*.json"))
            raise SetupError(
                f"{dataset_name} has no {file.name}" + (f"; plans that exist: {', '.join(others)}" if others else ""),
                where=file,
                mend=f"nnUNetv2_plan_and_preprocess -d {dataset_id}"
                if file is dataset_file or plans_name == "nnUNetPlans"
                else f"-p {others[0]}"
                if others
                else f"nnUNetv2_plan_experiment -d {dataset_id} -overwrite_plans_name {plans_name}",
            )
    if not is_plain_name(configuration):
        raise SetupError(
            f"-c {configuration!r:.100}: no name of a configuration", where=plans_file, mend="-c 3d_fullres"
        )
    plans = read_json_object(plans_file, plan_again(dataset_name))
    dataset_json = read_dataset_json(dataset_file)
    if not isinstance(plans.get("configurations"), dict):
        raise SetupError(
            "these are no nnU-Net v2 plans: no configurations", where=plans_file, mend=plan_again(dataset_name)
        )
    if configuration not in plans["configurations"]:
        raise SetupError(
            f"{plans_name} has no configuration '{configuration}'; it has: {', '.join(plans['configurations'])}",
            where=plans_file,
            mend="-c with one of these",
        )
    if needs_own_name:
        check_plans_name(plans, plans_file)
    check_upstream("plans")
    try:
        planned = _planned(plans, dataset_json, configuration, plans_file, results)
        check_planned(planned, plans_file, plan_again(dataset_name))
    except GenesisError:
        raise
    except Exception as error:
        raise unusable_plans(error, plans_file) from error
    if needs_cases:
        require_cases(planned)
    return planned


def _planned(
    plans: dict[str, Any], dataset_json: Mapping[str, Any], configuration: str, plans_file: Path, results: Path
) -> PlannedConfiguration:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    settings = manager.get_configuration(configuration)
    channel_names = read_channel_names(dataset_json)
    intensities = manager.foreground_intensity_properties_per_channel
    patch_size = tuple(int(voxels) for voxels in settings.patch_size)
    return PlannedConfiguration(
        dataset_name=plans_file.parent.name,
        plans_name=plans_file.stem,
        configuration=configuration,
        dataset_folder=plans_file.parent,
        cases_folder=plans_file.parent / settings.data_identifier,
        results_folder=results / plans_file.parent.name,
        patch_size=patch_size,
        batch_size=int(settings.batch_size),
        spacing=tuple(float(mm) for mm in settings.spacing)[-len(patch_size) :],
        channel_names=tuple(str(channel_names[key]) for key in sorted(channel_names, key=int)),
        normalization_schemes=tuple(settings.normalization_schemes),
        masked_normalization=tuple(bool(masked) for masked in settings.use_mask_for_norm),
        foreground_intensities=tuple(dict(intensities[key]) for key in sorted(intensities, key=int)),
        architecture=settings.configuration["architecture"],
        data_identifier=settings.data_identifier,
        preprocessing=describe_preprocessing(plans, settings.configuration),
        plans=plans,
    )


def require_cases(planned: PlannedConfiguration) -> None:
    """Make sure that the dataset's own cases are preprocessed.

    Raises:
        SetupError: If they are not.
    """
    preprocess = (
        f"nnUNetv2_preprocess -d {int(planned.dataset_name[7:10])} -p {planned.plans_name} -c {planned.configuration}"
    )
    if not planned.cases_folder.is_dir():
        raise SetupError(
            f"configuration {planned.configuration} is not preprocessed", where=planned.cases_folder, mend=preprocess
        )
    if not list_cases(planned.cases_folder):
        raise SetupError(
            "no preprocessed case (.b2nd, .npz or .npy) found", where=planned.cases_folder, mend=preprocess
        )


def read_channel_names(dataset_json: Mapping[str, Any]) -> Mapping[str, Any]:
    """Number to name of the image channels, under either name that nnU-Net knows for the entry."""
    names: Mapping[str, Any] = dataset_json["channel_names" if "channel_names" in dataset_json else "modality"]
    return names


def list_cases(cases_folder: Path) -> list[str]:
    """Sorted identifiers of the preprocessed cases in a folder, whatever nnU-Net's file format.

    Raises:
        SetupError: If a name cannot be written into logs and tables.
    """
    cases = {
        file.name.removesuffix(suffix)
        for suffix in (".b2nd", ".npz", ".npy")
        for file in cases_folder.glob(f"*{suffix}")
        if not file.name.endswith(f"_seg{suffix}")
    }
    for odd in sorted(case for case in cases if not case.isprintable()):
        raise SetupError(
            f"the name of the case {odd!r} holds line breaks, control characters or bytes that are no UTF-8",
            where=cases_folder,
            mend="rename its files, also in nnUNet_raw and in splits_final.json",
        )
    return sorted(cases)
