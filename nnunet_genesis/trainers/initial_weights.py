"""Load what a training starts from, and put it on record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import SetupError
from nnunet_genesis.interop import open_source
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.trainers.differences import find_differences
from nnunet_genesis.trainers.first_process import others_wait
from nnunet_genesis.trainers.leaks import Leaks, find_leaks, refuse_leaks
from nnunet_genesis.trainers.pretrained_file import CHECKPOINT_VARIABLE, find_pretrained_file
from nnunet_genesis.transfer import MINIMUM_SHARE, TransferReport, load_weights, unwrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from nnunet_genesis.interop.source import SourceModel

ALLOW_PARTIAL_VARIABLE = "nnUNet_genesis_allow_partial"
MINIMUM_SHARE_VARIABLE = "nnUNet_genesis_minimum_share"
_FULL_WARNING = (
    "WARNING: _full loads the decoder, too. It was no help where we measured it (Models Genesis, hippocampus, one seed:"
    " Dice 0.825 with and 0.827 without after 2,000 steps, 0.57 and 0.76 in a trial of 900): compare both before you"
    " rely on it."
)


def load_pretrained_weights(trainer: nnUNetTrainer, *, full: bool) -> tuple[dict[str, Any], list[str]]:
    """Find the pretrained file of a trainer and load it into its network.

    Args:
        trainer: Initialised by nnU-Net.
        full: Whether to load the decoder, too.

    Returns:
        What to record, plain values, and what to say.

    Raises:
        GenesisError: If there is no file, or none that can be used.
    """
    file = find_pretrained_file(
        results_folder=Path(trainer.output_folder_base).parent,
        plans_name=trainer.plans_manager.plans_name,
        configuration=trainer.configuration_name,
        fold=trainer.fold,
    )
    source = open_source(file)
    channels = read_channel_names(trainer.dataset_json)
    report = load_weights(
        unwrap(trainer.network),
        source,
        part="full" if full else "encoder",
        # In the second stage of a cascade the network has more inputs than there are images.
        image_channels=len(channels),
        architecture=trainer.configuration_manager.configuration["architecture"],
        allow_partial=allows_partial(),
        minimum_share=told_minimum_share(),
    )
    intensities = trainer.plans_manager.foreground_intensity_properties_per_channel
    could_not_wait: list[str] = []
    with others_wait(could_not_wait.append):  # with many images of other formats this takes long
        leaks = _find_leaks(trainer, source.facts)
    refuse_leaks(leaks, trainer.fold)
    differences = find_differences(
        source.facts,
        spacing=trainer.configuration_manager.spacing,
        normalization_schemes=trainer.configuration_manager.normalization_schemes,
        channel_names=[str(channels[key]) for key in sorted(channels, key=int)],
        foreground_intensities=[intensities[key] for key in sorted(intensities, key=int)],
    )
    record = {
        "initialization": "pretrained encoder" + (" and decoder" if full else ""),
        "file": os.environ.get(CHECKPOINT_VARIABLE) or str(file),
        "sha256": checkpoint.sha256_of_file(file),
        "format": source.kind,
        "pretext": source.facts.get("method"),
        "pretraining_dataset": source.facts.get("dataset"),
        **leaks.as_record(),
        "differences_from_pretraining": differences,
        "transfer": report.as_dict(),
    }
    lines = _describe(source, report) + could_not_wait
    lines += [f"WARNING: the images are not like those of pretraining: {difference}." for difference in differences]
    if full:
        lines.append(_FULL_WARNING)
    lines += leaks.warnings(trainer.fold)
    if "trainer" in source.facts and source.facts.get("dataset") == trainer.plans_manager.dataset_name:
        lines.append(
            "WARNING: the file is a model that was trained with labels of this dataset; if"
            f" validation cases of fold {trainer.fold} were among them, its score is not one of unseen images."
        )
    return record, lines


def allows_partial() -> bool:
    """Whether the environment says that less than the whole encoder may be loaded."""
    return os.environ.get(ALLOW_PARTIAL_VARIABLE, "").lower() in ("1", "true", "t")


def _find_leaks(trainer: nnUNetTrainer, facts: Mapping[str, Any]) -> Leaks:
    if trainer.local_rank != 0:
        return Leaks()  # the first process looks, and says what it found
    # Fold "all" validates on what it trains on: there is nothing unseen to begin with.
    validation = [] if trainer.fold == "all" else [str(case) for case in trainer.do_split()[1]]
    return find_leaks(
        facts,
        dataset_name=trainer.plans_manager.dataset_name,
        results_folder=Path(trainer.output_folder_base).parent,
        validation_cases=validation,
    )


def told_minimum_share() -> float:
    """Share of the encoder (and of the decoder, where it is loaded) that must be filled, by the environment.

    Raises:
        SetupError: If it is no share.
    """
    text = os.environ.get(MINIMUM_SHARE_VARIABLE) or str(MINIMUM_SHARE)
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 <= share <= 1:
        raise SetupError(
            f"the environment variable {MINIMUM_SHARE_VARIABLE} is '{text}': a share of the encoder is between 0 and 1",
            mend=f"export {MINIMUM_SHARE_VARIABLE}={MINIMUM_SHARE}",
        )
    return share


def _describe(source: SourceModel, report: TransferReport) -> list[str]:
    facts = source.facts
    told = {
        "": facts.get("method"),
        "on ": facts.get("dataset"),
        "epochs: ": facts.get("epochs"),
        "cases: ": facts.get("num_cases"),
    }
    return [
        f"starting from {source.file}",
        f"{source.kind}: " + ", ".join(f"{label}{value}" for label, value in told.items() if value),
        *report.summary_lines(),
    ]
