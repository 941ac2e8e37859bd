"""Everything of nnU-Net's inside that this package depends on, in one place.

nnU-Net documents its commands, its file formats and its plans, and that trainers are made by subclassing. What is
listed here is none of that: it may change with any release. It is checked where it is used, so that a release that
changes it gives an error that says so, instead of one from deep inside.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version

from nnunet_genesis.errors import SetupError

TESTED_VERSIONS = ("2.6.4", "2.8.1")
"""Oldest and newest release that the tests were run with (``make test-versions``)."""


@dataclass(frozen=True)
class Internal:
    """A function, class or method of nnU-Net.

    Attributes:
        module: Where it is.
        name: Its name, with the class before a dot.
        parameters: Names of parameters that we pass, none where it takes no call.
        used_for: What we need it for.
    """

    module: str
    name: str
    parameters: tuple[str, ...]
    used_for: str


_PLANS = "nnunetv2.utilities.plans_handling.plans_handler"
_DATASET = "nnunetv2.training.dataloading.nnunet_dataset"
_TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
INTERNALS = {
    "plans": (
        Internal(_PLANS, "PlansManager", ("plans_file_or_dict",), "reading plans"),
        Internal(_PLANS, "PlansManager.get_configuration", ("configuration_name",), "inheritance of configurations"),
        Internal(_PLANS, "PlansManager.foreground_intensity_properties_per_channel", (), "clip bounds of CT"),
        Internal(_PLANS, "ConfigurationManager.data_identifier", (), "the folder of preprocessed cases"),
        Internal(_PLANS, "ConfigurationManager.use_mask_for_norm", (), "telling background"),
        Internal(
            "nnunetv2.utilities.get_network_from_plans",
            "get_network_from_plans",
            ("arch_class_name", "arch_kwargs", "arch_kwargs_req_import", "input_channels", "output_channels"),
            "building the network of the plans",
        ),
        Internal(
            "nnunetv2.utilities.crossval_split",
            "generate_crossval_split",
            ("train_identifiers", "seed", "n_splits"),
            "the folds that nnU-Net will make",
        ),
    ),
    "preprocessing": (
        Internal(_PLANS, "PlansManager.image_reader_writer_class", (), "reading scans as labelled cases are read"),
        Internal(_PLANS, "ConfigurationManager.preprocessor_class", (), "preprocessing scans as labelled cases are"),
        Internal(
            "nnunetv2.preprocessing.preprocessors.default_preprocessor",
            "DefaultPreprocessor.run_case_npy",
            ("data", "seg", "properties", "plans_manager", "configuration_manager", "dataset_json"),
            "preprocessing scans without labels",
        ),
        Internal(
            _DATASET,
            "nnUNetDatasetBlosc2.save_case",
            ("data", "seg", "properties", "output_filename_truncated", "chunks", "blocks", "chunks_seg", "blocks_seg"),
            "storing images as nnU-Net does",
        ),
    ),
    "raw": (
        Internal(
            "nnunetv2.imageio.reader_writer_registry",
            "determine_reader_writer_from_dataset_json",
            ("dataset_json_content", "example_file", "verbose"),
            "reading raw images",
        ),
        Internal(
            "nnunetv2.utilities.utils",
            "get_filenames_of_train_images_and_targets",
            ("raw_dataset_folder", "dataset_json"),
            "finding raw images",
        ),
    ),
    "benchmark": (
        Internal(_PLANS, "PlansManager.image_reader_writer_class", (), "reading predictions and references"),
        Internal(
            "nnunetv2.evaluation.evaluate_predictions", "load_summary_json", ("filename",), "the Dice of test cases"
        ),
    ),
    "trainers": (
        Internal(_TRAINER, "nnUNetTrainer.initialize", (), "loading weights once the network is built"),
        Internal(
            _TRAINER, "nnUNetTrainer.load_checkpoint", ("filename_or_checkpoint",), "telling a continued training"
        ),
        Internal(_TRAINER, "nnUNetTrainer.do_split", (), "the validation cases of the fold"),
        Internal(_PLANS, "PlansManager.foreground_intensity_properties_per_channel", (), "comparing CT normalisation"),
        Internal(_TRAINER, "nnUNetTrainer.configure_optimizers", (), "schedules"),
        Internal(_TRAINER, "nnUNetTrainer.on_train_epoch_start", (), "what trains in an epoch"),
        Internal(_TRAINER, "nnUNetTrainer.get_dataloaders", (), "batches that follow from a seed"),
        Internal(
            "batchgenerators.dataloading.nondet_multi_threaded_augmenter",
            "NonDetMultiThreadedAugmenter._finish",
            (),
            "batches that follow from a seed",
        ),
        Internal(_TRAINER, "nnUNetTrainer.print_to_log_file", (), "the log"),
        Internal(_TRAINER, "nnUNetTrainer.train_step", ("batch",), "lower precision on a CPU"),
        Internal(_TRAINER, "nnUNetTrainer.validation_step", ("batch",), "lower precision on a CPU"),
        Internal(
            _TRAINER, "nnUNetTrainer.perform_actual_validation", ("save_probabilities",), "lower precision on a CPU"
        ),
    ),
}
"""What is used, by the part of this package that uses it."""


@cache
def check_upstream(part: str) -> None:
    """Make sure that the installed nnU-Net has what a part of this package depends on.

    Args:
        part: Key of `INTERNALS`.

    Raises:
        SetupError: Naming the installed version, what changed, and the versions that work.
    """
    changed = [problem for internal in INTERNALS[part] if (problem := _find_problem(internal)) is not None]
    if changed:
        raise SetupError(
            f"nnunetv2 {version('nnunetv2')} is not as nnunet-genesis needs it ({part}):\n"
            + "\n".join(f"    {problem}" for problem in changed),
            mend=f"pip install 'nnunetv2>={TESTED_VERSIONS[0]},<={TESTED_VERSIONS[1]}', or a newer nnunet-genesis",
        )


def _find_problem(internal: Internal) -> str | None:
    place = f"{internal.module}.{internal.name} (used for {internal.used_for})"
    try:
        found = import_module(internal.module)
        for name in internal.name.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        return f"{place} is gone: {error}"
    if not internal.parameters:
        return None
    parameters = inspect.signature(found).parameters  # type: ignore[arg-type]
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    missing = [name for name in internal.parameters if name not in parameters]
    return f"{place} has no parameter {', '.join(missing)}" if missing and not takes_all else None
