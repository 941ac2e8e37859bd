"""`nnUNetTrainerGenesis`: nnU-Net's standard pipeline on a pretrained encoder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_genesis import __version__, checkpoint
from nnunet_genesis.errors import CheckpointError, GenesisError, SetupError
from nnunet_genesis.hub import HUB_PREFIX, resolve
from nnunet_genesis.interop import open_source
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.trainers.grammar import TrainerRecipe
from nnunet_genesis.trainers.leaks import Leaks, find_leaks
from nnunet_genesis.transfer import MINIMUM_SHARE, TransferReport, load_weights, unwrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnunet_genesis.interop.source import SourceModel

CHECKPOINT_VARIABLE = "nnUNet_genesis_checkpoint"
ALLOW_PARTIAL_VARIABLE = "nnUNet_genesis_allow_partial"
MINIMUM_SHARE_VARIABLE = "nnUNet_genesis_minimum_share"
INIT_FILE = "genesis_init.json"


class nnUNetTrainerGenesis(nnUNetTrainer):
    """nnU-Net's trainer, started from the encoder of a Genesis pretraining; everything else is nnU-Net's own.

    The pretrained file is the one named by the environment variable ``nnUNet_genesis_checkpoint``, else the finished
    pretraining of the same dataset, plans and configuration. A continued training (``--c``), a validation
    (``--val``) and prediction read nnU-Net's checkpoint and need no pretrained file.

    `initialize` is the only entry that changes: nnU-Net records the arguments of ``__init__`` by name and calls
    ``build_network_architecture`` in prediction, so neither is overridden.
    """

    recipe = TrainerRecipe("nnUNetTrainerGenesis")
    _weights_follow_from_nnunet_checkpoint = False

    def initialize(self) -> None:
        """Build what nnU-Net builds, then load the pretrained encoder.

        Raises:
            SystemExit: If there is no usable pretrained file; its message says what to run. (nnU-Net's command line
                would show a traceback for any other exception.)
        """
        if self.recipe.epochs is not None:
            self.num_epochs = self.recipe.epochs
        if self.recipe.iterations_per_epoch is not None:
            self.num_iterations_per_epoch = self.recipe.iterations_per_epoch
            self.num_val_iterations_per_epoch = max(1, self.recipe.iterations_per_epoch // 5)
        super().initialize()
        if self._weights_follow_from_nnunet_checkpoint:
            return
        if self.recipe.scratch:
            self._record_initialization({"initialization": "scratch"})
            self.print_to_log_file("nnunet-genesis: control run, nothing is loaded (_scratch).")
            return
        try:
            self._load_pretrained_encoder()
        except GenesisError as error:
            self.print_to_log_file(f"nnunet-genesis: {error}", also_print_to_console=False)
            raise SystemExit(f"nnunet-genesis: {error}") from error

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Restore nnU-Net's own checkpoint (``--c``, ``--val``), which holds all weights."""
        self._weights_follow_from_nnunet_checkpoint = True
        super().load_checkpoint(filename_or_checkpoint)

    def _load_pretrained_encoder(self) -> None:
        file = find_pretrained_file(
            results_folder=Path(self.output_folder_base).parent,
            plans_name=self.plans_manager.plans_name,
            configuration=self.configuration_name,
        )
        source = open_source(file)
        report = load_weights(
            unwrap(self.network),
            source,
            # In the second stage of a cascade the network has more inputs than there are images.
            image_channels=len(read_channel_names(self.dataset_json)),
            architecture=self.configuration_manager.configuration["architecture"],
            allow_partial=os.environ.get(ALLOW_PARTIAL_VARIABLE, "").lower() in ("1", "true", "t"),
            minimum_share=_minimum_share(),
        )
        leaks = self._find_leaks(source.facts)
        self._record_initialization(
            {
                "initialization": "pretrained encoder",
                "file": os.environ.get(CHECKPOINT_VARIABLE) or str(file),
                "sha256": checkpoint.sha256_of_file(file),
                "format": source.kind,
                "pretext": source.facts.get("method"),
                "pretraining_dataset": source.facts.get("dataset"),
                "validation_cases_seen_in_pretraining": leaks.validation,
                "test_cases_seen_in_pretraining": leaks.test,
                "transfer": report.as_dict(),
            }
        )
        for warning in leaks.warnings(self.fold):
            self.print_to_log_file(f"nnunet-genesis: {warning}")
        if "trainer" in source.facts and source.facts.get("dataset") == self.plans_manager.dataset_name:
            self.print_to_log_file(
                "nnunet-genesis: WARNING: the file is a model that was trained with labels of this dataset; if"
                f" validation cases of fold {self.fold} were among them, its score is not one of unseen images."
            )
        for line in _log_lines(source, report):
            self.print_to_log_file(line)

    def _find_leaks(self, facts: Mapping[str, Any]) -> Leaks:
        if self.local_rank != 0:
            return Leaks()  # the first process looks, and says what it found
        # Fold "all" validates on what it trains on: there is nothing unseen to begin with.
        validation = [] if self.fold == "all" else [str(case) for case in self.do_split()[1]]
        return find_leaks(
            facts,
            dataset_name=self.plans_manager.dataset_name,
            results_folder=Path(self.output_folder_base).parent,
            validation_cases=validation,
        )

    def _record_initialization(self, record: dict[str, Any]) -> None:
        if self.local_rank != 0:
            return
        record = {"trainer": self.recipe.name, "nnunet_genesis": __version__, **record}
        Path(self.output_folder, INIT_FILE).write_text(json.dumps(record, indent=2) + "\n")


def build_trainer_class(recipe: TrainerRecipe) -> type[nnUNetTrainerGenesis]:
    """Make the trainer class of a recipe; nnU-Net names its results folder after the class."""
    if recipe == nnUNetTrainerGenesis.recipe:
        return nnUNetTrainerGenesis
    namespace = {"recipe": recipe, "__doc__": nnUNetTrainerGenesis.__doc__, "__module__": "nnunet_genesis.trainers"}
    return type(recipe.name, (nnUNetTrainerGenesis,), namespace)


def find_pretrained_file(results_folder: Path, plans_name: str, configuration: str) -> Path:
    """Find the file to start from: the environment variable first, else the one finished pretraining.

    Args:
        results_folder: ``nnUNet_results/DATASET``.
        plans_name: nnU-Net plans identifier.
        configuration: nnU-Net configuration name.

    Raises:
        CheckpointError: If the named file is missing, or if no or several finished pretrainings exist.
    """
    named = os.environ.get(CHECKPOINT_VARIABLE)
    if named:
        if named.startswith(HUB_PREFIX):
            return resolve(named)
        file = Path(named).expanduser()
        if not file.is_file():
            raise CheckpointError(
                f"the environment variable {CHECKPOINT_VARIABLE} names no file",
                where=file,
                mend=f"export {CHECKPOINT_VARIABLE}=/path/to/checkpoint_final.pth, or unset {CHECKPOINT_VARIABLE}",
            )
        return file
    finished = checkpoint.find_finished(results_folder, plans_name, configuration)
    if len(finished) == 1:
        return finished[0]
    pretrain = f"genesis-pretrain-nnunet {results_folder.name} -c {configuration} -p {plans_name}"
    if finished:
        raise CheckpointError(
            f"{len(finished)} finished pretrainings fit; which one is meant is for you to say:\n"
            + "\n".join(f"    {file}" for file in finished),
            where=results_folder,
            mend=f"export {CHECKPOINT_VARIABLE}={finished[0]}",
        )
    others = sorted(results_folder.glob(f"{checkpoint.FOLDER_PREFIX}*/checkpoint_*.pth"))
    there = "\n".join(f"    {file}" for file in others) or "    (nothing)"
    raise CheckpointError(
        f"no finished pretraining for plans {plans_name}, configuration {configuration}. Pretraining files here:\n"
        + there,
        where=results_folder,
        mend=f"{pretrain}\n  or start from another file: export {CHECKPOINT_VARIABLE}=FILE"
        "\n  or train without pretraining: -tr nnUNetTrainerGenesis_scratch",
    )


def _minimum_share() -> float:
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


def _log_lines(source: SourceModel, report: TransferReport) -> list[str]:
    facts = source.facts
    told = {
        "": facts.get("method"),
        "on ": facts.get("dataset"),
        "epochs: ": facts.get("epochs"),
        "cases: ": facts.get("num_cases"),
    }
    return [
        f"nnunet-genesis: starting from {source.file}",
        f"nnunet-genesis: {source.kind}: " + ", ".join(f"{label}{value}" for label, value in told.items() if value),
        *(f"nnunet-genesis: {line}" for line in report.summary_lines()),
    ]
