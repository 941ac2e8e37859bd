"""`nnUNetTrainerGenesis`: nnU-Net's standard pipeline on pretrained weights, by the schedule that the name asks for."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_genesis import __version__
from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.trainers.cpu_autocast import (
    CPU_AUTOCAST_VARIABLE,
    LossInSinglePrecision,
    autocast_cpu,
    read_cpu_autocast,
)
from nnunet_genesis.trainers.grammar import TrainerRecipe
from nnunet_genesis.trainers.initial_weights import load_pretrained_weights
from nnunet_genesis.trainers.initialization_record import (
    INIT_FILE,
    RECORD_KEY,
    read_initialization,
    restore_init_file,
    write_init_file,
)
from nnunet_genesis.trainers.leaks import Leaks, refuse_leaks
from nnunet_genesis.trainers.rates import EpochRates, encoder_of, enter_epoch, group_parameters, set_trainable
from nnunet_genesis.trainers.schedules import describe_schedule, summarise
from nnunet_genesis.trainers.seeding import SEED_VARIABLE, Stream, number_batches, read_seed, seed_generators
from nnunet_genesis.upstream import check_upstream
from nnunet_genesis.weights_digest import weights_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    _nnunet_checkpoint: Path | None = None
    _began_with: str | None = None
    _record: dict[str, Any] | None = None
    _seed: int | None = None
    _cpu_autocast: torch.dtype | None = None
    network: torch.nn.Module
    loss: Any

    def initialize(self) -> None:
        """Build what nnU-Net builds, then load the pretrained weights.

        Raises:
            SystemExit: If there is no usable pretrained file; its message says what to run. (nnU-Net's command line
                would show a traceback for any other exception.)
        """
        with self._errors_as_messages():
            self._initialize()

    def _initialize(self) -> None:
        check_upstream("trainers")
        if self.recipe.epochs is not None:
            self.num_epochs = self.recipe.epochs
        if self.recipe.iterations_per_epoch is not None:
            self.num_iterations_per_epoch = self.recipe.iterations_per_epoch
            self.num_val_iterations_per_epoch = max(1, self.recipe.iterations_per_epoch // 5)
        if not self.recipe.schedule.is_nnunets:
            self.initial_lr = self.recipe.schedule.peak
        continued = self._weights_follow_from_nnunet_checkpoint
        recorded = read_initialization(self.output_folder, self._nnunet_checkpoint) if continued else None
        began = recorded or {}
        before = seed if isinstance(seed := began.get("seed"), int) else None
        self._seed = read_seed() if read_seed() is not None else before
        if self._seed is not None:
            seed_generators(self._seed, Stream.INITIAL_WEIGHTS)
        self._cpu_autocast = read_cpu_autocast(
            self.device, began.get("cpu_autocast"), Path(self.output_folder, INIT_FILE)
        )
        super().initialize()
        if self._cpu_autocast is not None:
            self.loss = LossInSinglePrecision(self.loss)
            self._log(
                f"WARNING: the network runs in {self._cpu_autocast}, because {CPU_AUTOCAST_VARIABLE} is set, or was"
                " when this run began; nnU-Net's own precision on a CPU is single. Compare this run only with others"
                " of the same setting."
            )
            if began and began.get("cpu_autocast") is None:
                self._log("WARNING: this run began in single precision.")
        if continued:
            self._go_on(recorded)
        else:
            self._start()
        self._log(f"schedule: {summarise(self.recipe.schedule, self.num_epochs)}")
        if self.recipe.schedule.frozen:
            self._log(_FROZEN_WARNING)
        seed = f"{self._seed}" if self._seed is not None else f"none (export {SEED_VARIABLE}=0 makes a run repeatable)"
        self._log(f"seed: {seed}")
        if recorded is not None and before != self._seed:
            began_with = "without a seed" if before is None else f"with seed {before}"
            self._log(f"WARNING: this run began {began_with}; its further batches are not those it would have had.")

    def _start(self) -> None:
        if self.recipe.scratch:
            record, lines = {"initialization": "scratch"}, ["control run, nothing is loaded (_scratch)."]
        else:
            record, lines = load_pretrained_weights(self, full=self.recipe.full)
        self._record_initialization(record)
        self._began_with = weights_digest(self.network.state_dict())
        for line in lines:
            self._log(line)

    def _go_on(self, began: dict[str, Any] | None) -> None:
        """Say again what these weights began from and had seen: who types ``--c`` may expect another beginning.

        Raises:
            SetupError: If they had seen, or may have seen, what a training is refused for.
        """
        if began is None:
            self._log(
                f"WARNING: neither the checkpoint nor {INIT_FILE} says how this training began, nor by what seed."
            )
            unknown = "how this training began is not recorded"
            leaks = Leaks() if self.recipe.scratch else Leaks(unchecked=[unknown])
        else:
            self._record = began
            if self.local_rank == 0 and (line := restore_init_file(self.output_folder, began)) is not None:
                self._log(line)
            leaks = Leaks.from_record(began)
            if began.get("file"):
                self._log(f"this training began from {began['file']}")
        refuse_leaks(leaks, self.fold)
        for line in leaks.warnings(self.fold):
            self._log(line)

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Restore nnU-Net's own checkpoint (``--c``, ``--val``), which holds all weights."""
        self._weights_follow_from_nnunet_checkpoint = True
        if isinstance(filename_or_checkpoint, str):
            self._nnunet_checkpoint = Path(filename_or_checkpoint)
        super().load_checkpoint(filename_or_checkpoint)
        self._began_with = None
        told = self.my_init_kwargs.get(RECORD_KEY)
        if isinstance(told, dict) and told != self._record:  # what could be read by nnU-Net alone
            with self._errors_as_messages():
                self._go_on(told)
        if self._record is not None:  # checkpoints from before they held it
            self.my_init_kwargs.setdefault(RECORD_KEY, self._record)

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

    def on_train_start(self) -> None:
        """nnU-Net's own, where the weights are still those that this training says it begins from.

        Raises:
            SystemExit: If something replaced them, as nnU-Net's ``-pretrained_weights`` does.
        """
        with self._errors_as_messages():
            self._check_weights()
        super().on_train_start()

    def _check_weights(self) -> None:
        if self._began_with is None or self._began_with == weights_digest(self.network.state_dict()):
            return
        raise SetupError(
            "the weights were changed after this trainer had set them, as nnU-Net's -pretrained_weights does:"
            f" {self.recipe.name} would not be what its name says, and {INIT_FILE} would name another beginning",
            where=self.output_folder,
            mend="export nnUNet_genesis_checkpoint=FILE, with a trainer that is no _scratch, in place of"
            " -pretrained_weights FILE; or use that with -tr nnUNetTrainer",
        )

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

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's own, in the precision that the environment asks for on a CPU."""
        with autocast_cpu(self._cpu_autocast):
            step: dict[str, Any] = super().train_step(batch)
        return step

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's own, in the precision of training."""
        with autocast_cpu(self._cpu_autocast):
            step: dict[str, Any] = super().validation_step(batch)
        return step

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """nnU-Net's own, in the precision of training, as nnU-Net predicts on a GPU."""
        with autocast_cpu(self._cpu_autocast):
            super().perform_actual_validation(save_probabilities)

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

    def _record_initialization(self, record: dict[str, Any]) -> None:
        if self.local_rank != 0:
            return
        record = {
            "trainer": self.recipe.name,
            "nnunet_genesis": __version__,
            "schedule": describe_schedule(self.recipe.schedule, self.num_epochs),
            "seed": self._seed,
            "cpu_autocast": None if self._cpu_autocast is None else str(self._cpu_autocast).removeprefix("torch."),
            **record,
        }
        self._record = self.my_init_kwargs[RECORD_KEY] = write_init_file(self.output_folder, record)

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
