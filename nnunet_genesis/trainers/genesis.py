"""`nnUNetTrainerGenesis`: nnU-Net's standard pipeline on pretrained weights, by the schedule that the name asks for."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_genesis import __version__, checkpoint
from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.interop import open_source
from nnunet_genesis.plans import read_channel_names
from nnunet_genesis.trainers.differences import find_differences
from nnunet_genesis.trainers.grammar import TrainerRecipe
from nnunet_genesis.trainers.leaks import Leaks, find_leaks
from nnunet_genesis.trainers.pretrained_file import CHECKPOINT_VARIABLE, find_pretrained_file
from nnunet_genesis.trainers.rates import EpochRates, encoder_of, enter_epoch, group_parameters, set_trainable
from nnunet_genesis.trainers.schedules import describe_schedule, summarise
from nnunet_genesis.trainers.seeding import SEED_VARIABLE, Stream, number_batches, read_seed, seed_generators
from nnunet_genesis.transfer import MINIMUM_SHARE, TransferReport, load_weights, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nnunet_genesis.interop.source import SourceModel

ALLOW_PARTIAL_VARIABLE = "nnUNet_genesis_allow_partial"
MINIMUM_SHARE_VARIABLE = "nnUNet_genesis_minimum_share"
INIT_FILE = "genesis_init.json"
_FULL_WARNING = (
    "WARNING: _full loads the decoder, too. In first trials (one seed, hippocampus, 5 labels, 900 steps of nnU-Net's"
    " own schedule) a Models Genesis run gave a Dice of 0.57 with its decoder and 0.76 without, 0.75 from scratch:"
    " compare both before you rely on it."
)
_FROZEN_WARNING = (
    "WARNING: _frozen never trains the encoder. It probes what pretraining taught; as a way to a good segmentation it"
    " costs much (OpenMind's comparison, read in third-party notes: mean Dice 55 frozen, 76 trained)."
)


class nnUNetTrainerGenesis(nnUNetTrainer):
    """nnU-Net's trainer, started from a Genesis pretraining; what its name does not ask for is nnU-Net's own.

    The pretrained file is the one named by the environment variable ``nnUNet_genesis_checkpoint``, else the finished
    pretraining of the same dataset, plans and configuration. A continued training (``--c``), a validation
    (``--val``) and prediction read nnU-Net's checkpoint and need no pretrained file.

    nnU-Net records the arguments of ``__init__`` by name and calls ``build_network_architecture`` in prediction, so
    neither is overridden.
    """

    recipe = TrainerRecipe("nnUNetTrainerGenesis")
    _weights_follow_from_nnunet_checkpoint = False
    _seed: int | None = None
    network: torch.nn.Module

    def initialize(self) -> None:
        """Build what nnU-Net builds, then load the pretrained weights.

        Raises:
            SystemExit: If there is no usable pretrained file; its message says what to run. (nnU-Net's command line
                would show a traceback for any other exception.)
        """
        with self._errors_as_messages():
            self._initialize()

    def _initialize(self) -> None:
        if self.recipe.epochs is not None:
            self.num_epochs = self.recipe.epochs
        if self.recipe.iterations_per_epoch is not None:
            self.num_iterations_per_epoch = self.recipe.iterations_per_epoch
            self.num_val_iterations_per_epoch = max(1, self.recipe.iterations_per_epoch // 5)
        if not self.recipe.schedule.is_nnunets:
            self.initial_lr = self.recipe.schedule.peak
        self._seed = read_seed()
        if self._seed is not None:
            seed_generators(self._seed, Stream.INITIAL_WEIGHTS)
        super().initialize()
        continued = self._weights_follow_from_nnunet_checkpoint
        if not continued:
            if self.recipe.scratch:
                self._record_initialization({"initialization": "scratch"})
                self._log("control run, nothing is loaded (_scratch).")
            else:
                self._load_pretrained_weights()
        self._log(f"schedule: {summarise(self.recipe.schedule, self.num_epochs)}")
        if self.recipe.schedule.frozen:
            self._log(_FROZEN_WARNING)
        seed = f"{self._seed}" if self._seed is not None else f"none (export {SEED_VARIABLE}=0 makes a run repeatable)"
        self._log(f"seed: {seed}")
        if continued:
            self._warn_of_another_seed()

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Restore nnU-Net's own checkpoint (``--c``, ``--val``), which holds all weights."""
        self._weights_follow_from_nnunet_checkpoint = True
        super().load_checkpoint(filename_or_checkpoint)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """nnU-Net's own for its own schedule; else SGD with its settings and a group for each rate."""
        schedule = self.recipe.schedule
        if schedule.is_nnunets:
            own: tuple[torch.optim.Optimizer, Any] = super().configure_optimizers()
            return own
        optimizer = torch.optim.SGD(
            group_parameters(self.network, schedule),
            self.initial_lr,
            weight_decay=self.weight_decay,
            momentum=0.99,
            nesterov=True,
        )
        rates = EpochRates(optimizer, schedule, self.num_epochs)
        # nnU-Net wraps the network for DDP next, which then waits for the gradients of what trains.
        set_trainable(encoder_of(self.network), trains=rates.settings(0).trains_encoder)
        return optimizer, rates

    def on_train_epoch_start(self) -> None:
        """Set what trains, and the generators, by the number of the epoch alone."""
        if self._seed is not None:
            seed_generators(self._seed, Stream.EPOCHS, self.local_rank, self.current_epoch)
        if isinstance(self.lr_scheduler, EpochRates):
            settings = self.lr_scheduler.settings(self.current_epoch)
            self.network = enter_epoch(self.network, self.optimizer, settings)
        super().on_train_epoch_start()
        if isinstance(self.lr_scheduler, EpochRates) and not settings.trains_encoder:
            encoder_of(self.network).eval()  # running statistics of a batch norm stay, too

    def get_dataloaders(self) -> tuple[Any, Any]:
        """nnU-Net's own; with a seed, in a fixed order and with batches that follow from their numbers."""
        training, validation = super().get_dataloaders()
        if self._seed is None:
            return training, validation
        common = {"seed": self._seed, "rank": self.local_rank}
        with self._errors_as_messages():
            return (
                number_batches(
                    training,
                    stream=Stream.TRAINING_BATCHES,
                    first=self.current_epoch * self.num_iterations_per_epoch,
                    **common,
                ),
                number_batches(
                    validation,
                    stream=Stream.VALIDATION_BATCHES,
                    first=self.current_epoch * self.num_val_iterations_per_epoch,
                    **common,
                ),
            )

    def _load_pretrained_weights(self) -> None:
        file = find_pretrained_file(
            results_folder=Path(self.output_folder_base).parent,
            plans_name=self.plans_manager.plans_name,
            configuration=self.configuration_name,
        )
        source = open_source(file)
        channels = read_channel_names(self.dataset_json)
        report = load_weights(
            unwrap(self.network),
            source,
            part="full" if self.recipe.full else "encoder",
            # In the second stage of a cascade the network has more inputs than there are images.
            image_channels=len(channels),
            architecture=self.configuration_manager.configuration["architecture"],
            allow_partial=os.environ.get(ALLOW_PARTIAL_VARIABLE, "").lower() in ("1", "true", "t"),
            minimum_share=_minimum_share(),
        )
        leaks = self._find_leaks(source.facts)
        differences = find_differences(
            source.facts,
            spacing=self.configuration_manager.spacing,
            normalization_schemes=self.configuration_manager.normalization_schemes,
            channel_names=[str(name) for _, name in sorted(channels.items(), key=lambda entry: int(entry[0]))],
        )
        self._record_initialization(
            {
                "initialization": "pretrained encoder" + (" and decoder" if self.recipe.full else ""),
                "file": os.environ.get(CHECKPOINT_VARIABLE) or str(file),
                "sha256": checkpoint.sha256_of_file(file),
                "format": source.kind,
                "pretext": source.facts.get("method"),
                "pretraining_dataset": source.facts.get("dataset"),
                "validation_cases_seen_in_pretraining": leaks.validation,
                "test_cases_seen_in_pretraining": leaks.test,
                "differences_from_pretraining": differences,
                "transfer": report.as_dict(),
            }
        )
        for line in _log_lines(source, report):
            self._log(line)
        for difference in differences:
            self._log(f"WARNING: the images are not like those of pretraining: {difference}.")
        if self.recipe.full:
            self._log(_FULL_WARNING)
        for warning in leaks.warnings(self.fold):
            self._log(warning)
        if "trainer" in source.facts and source.facts.get("dataset") == self.plans_manager.dataset_name:
            self._log(
                "WARNING: the file is a model that was trained with labels of this dataset; if"
                f" validation cases of fold {self.fold} were among them, its score is not one of unseen images."
            )

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
        record = {
            "trainer": self.recipe.name,
            "nnunet_genesis": __version__,
            "schedule": describe_schedule(self.recipe.schedule, self.num_epochs),
            "seed": self._seed,
            **record,
        }
        Path(self.output_folder, INIT_FILE).write_text(json.dumps(record, indent=2) + "\n")

    def _warn_of_another_seed(self) -> None:
        file = Path(self.output_folder, INIT_FILE)
        if self.local_rank != 0 or not file.is_file():
            return
        before = json.loads(file.read_text()).get("seed")
        if before != self._seed:
            self._log(
                f"WARNING: this run began with seed {before} and goes on with {self._seed}; batches are not those that"
                f" it would have had: {SEED_VARIABLE} was {'unset' if before is None else before}."
            )

    def _log(self, line: str) -> None:
        self.print_to_log_file(f"nnunet-genesis: {line}")

    @contextmanager
    def _errors_as_messages(self) -> Iterator[None]:
        """End with a message where nnU-Net's command line would show a traceback."""
        try:
            yield
        except GenesisError as error:
            self.print_to_log_file(f"nnunet-genesis: {error}", also_print_to_console=False)
            raise SystemExit(f"nnunet-genesis: {error}") from error


def build_trainer_class(recipe: TrainerRecipe) -> type[nnUNetTrainerGenesis]:
    """Make the trainer class of a recipe; nnU-Net names its results folder after the class."""
    if recipe == nnUNetTrainerGenesis.recipe:
        return nnUNetTrainerGenesis
    namespace = {"recipe": recipe, "__doc__": nnUNetTrainerGenesis.__doc__, "__module__": "nnunet_genesis.trainers"}
    return type(recipe.name, (nnUNetTrainerGenesis,), namespace)


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
        f"starting from {source.file}",
        f"{source.kind}: " + ", ".join(f"{label}{value}" for label, value in told.items() if value),
        *report.summary_lines(),
    ]
