"""One pretraining run from plans to final checkpoint: everything is checked first, then the loop starts."""

from __future__ import annotations

import math
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError, SetupError, StorageError
from nnunet_genesis.pretraining.background import describe_background
from nnunet_genesis.pretraining.case_samples import sample_intensities
from nnunet_genesis.pretraining.damage import collate
from nnunet_genesis.pretraining.data import PatchDataset, StepSampler, build_loader
from nnunet_genesis.pretraining.dead_loaders import loading
from nnunet_genesis.pretraining.devices import check_device, launch_fabric, on_first_process, should_compile
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.interruption import StopRequest
from nnunet_genesis.pretraining.learned_state import check_same_heads, restore_learned
from nnunet_genesis.pretraining.loop import (
    TrainingState,
    build_optimizer,
    progress_entry,
    restore_progress,
    save_latest,
    train,
)
from nnunet_genesis.pretraining.monitor import LOGGER, Monitor, start_logging, stop_logging
from nnunet_genesis.pretraining.pretext_network import PretextNetwork, build_pretext_network
from nnunet_genesis.pretraining.pretexts import build_pretext, check_pretext, prepare_pretext
from nnunet_genesis.pretraining.processes import count_processes, is_first_process, same_launcher
from nnunet_genesis.pretraining.provenance import describe_run, keep_known_scans, nnssl_adaptation_plan
from nnunet_genesis.pretraining.quarantine import Quarantine
from nnunet_genesis.pretraining.rank_watch import RankWatch
from nnunet_genesis.pretraining.run_files import (
    RunFiles,
    check_output_folder,
    check_same_data,
    check_same_run,
    config_of,
    mending_command,
    remove_leftovers,
    remove_results,
)
from nnunet_genesis.pretraining.run_lock import locked_folder
from nnunet_genesis.pretraining.saving import DEFAULT_MINUTES, SaveSchedule
from nnunet_genesis.pretraining.seeds import Stream, numpy_generator
from nnunet_genesis.pretraining.single_channel import learned_plans, learned_range, with_channels_drawn
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.sources import open_sources
from nnunet_genesis.pretraining.validation import Baselines, ValidationPairs, ValidationSource

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_fabric import Fabric
    from lightning_fabric.plugins import Precision
    from torch import nn

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.source_folders import SourceFolder
    from nnunet_genesis.pretraining.sources import Source


@dataclass(frozen=True)
class RunOptions:
    """Where and how a run is carried out; nothing here changes its result.

    Attributes:
        output: Output folder.
        device: "cuda", "cpu" or "mps".
        num_devices: Processes on this host.
        workers: Loader processes per process.
        continue_run: Go on from the latest checkpoint.
        overwrite: Replace the results of an earlier run.
        save_every_minutes: Longest time between two saves.
        save_every_epochs: Epochs between two saves; None: only time counts.
        command: The command line that continues this run.
    """

    output: Path
    device: str = "cuda"
    num_devices: int = 1
    workers: int = 2
    continue_run: bool = False
    overwrite: bool = False
    save_every_minutes: float = DEFAULT_MINUTES
    save_every_epochs: int | None = None
    command: str = ""


def run_pretraining(
    planned: PlannedConfiguration, config: PretrainingConfig, options: RunOptions, stop: StopRequest | None = None
) -> bool:
    """Pretrain the network of the plans.

    Args:
        planned: The dataset's plans.
        config: What is trained, and how.
        options: Where, and on what.
        stop: Has taken over the signals, where they shall be so before this call.

    Returns:
        True when finished, False when interrupted; then ``checkpoint_latest.pth`` continues the run.

    Raises:
        GenesisError: If anything is wrong that can be known before the first step.
        KeyboardInterrupt: If a signal came before the first step; there is nothing to save.
    """
    if stop is None:
        with StopRequest() as own:
            return run_pretraining(planned, config, options, own)
    schedule = SaveSchedule(options.save_every_minutes, options.save_every_epochs)
    check_output_folder(options.output, continue_run=options.continue_run, overwrite=options.overwrite)
    if _is_finished(options, config):
        if is_first_process():
            with suppress(SetupError, StorageError), locked_folder(options.output):
                (options.output / checkpoint.LATEST_NAME).unlink(missing_ok=True)  # killed after writing the final one
                remove_leftovers(options.output)
        return True
    check_pretext(config, learned_plans(planned, config))
    folders = find_source_folders(planned, config)
    world_size = math.prod(count_processes(options.num_devices))
    if config.batch_size % world_size:
        raise _indivisible_batch(config.batch_size, world_size, options)
    check_device(options.device, options.num_devices, config.precision)
    with locked_folder(options.output) if is_first_process() else nullcontext():
        # Another process may have written the folder until now.
        check_output_folder(options.output, continue_run=options.continue_run, overwrite=options.overwrite)
        if is_first_process():
            remove_leftovers(options.output)
        if _is_finished(options, config):
            return True
        if world_size > 1:
            stop.defer()  # from the launch on, processes wait for one another
        return _launch(planned, config, options, folders, schedule, stop=stop)


def _indivisible_batch(batch_size: int, world_size: int, options: RunOptions) -> SetupError:
    problem = f"a batch of {batch_size} cannot be divided among {world_size} processes"
    if options.continue_run and (options.output / checkpoint.LATEST_NAME).exists():
        divisors = ", ".join(str(number) for number in range(1, batch_size + 1) if batch_size % number == 0)
        return SetupError(
            f"{problem}, and a run that is continued keeps its batch",
            where=options.output,
            mend=f"that many processes in all: {divisors}; or start anew with --output",
        )
    return SetupError(problem, mend=f"--batch-size {math.ceil(batch_size / world_size) * world_size}")


def _is_finished(options: RunOptions, config: PretrainingConfig) -> bool:
    """Whether ``--c`` finds nothing to do."""
    final = options.output / checkpoint.FINAL_NAME
    if not (options.continue_run and final.exists()):
        return False
    check_same_run(config_of(checkpoint.read(final), final), config, final)
    return True


def _launch(
    planned: PlannedConfiguration,
    config: PretrainingConfig,
    options: RunOptions,
    folders: list[SourceFolder],
    schedule: SaveSchedule,
    *,
    stop: StopRequest,
) -> bool:
    """Start the processes of a run, and run."""
    resumed = _read_latest(options, config) if options.continue_run else None
    with RankWatch() as watch:
        fabric = launch_fabric(options.device, options.num_devices, config.precision)
        watch.connect(fabric)
        start_logging(options.output if fabric.is_global_zero else None, go_on=options.continue_run)
        try:
            return _run(
                fabric, planned, config, options, folders=folders, resumed=resumed, schedule=schedule, stop=stop
            )
        finally:
            stop_logging()


def _run(
    fabric: Fabric,
    planned: PlannedConfiguration,
    config: PretrainingConfig,
    options: RunOptions,
    *,
    folders: list[SourceFolder],
    resumed: dict[str, Any] | None,
    schedule: SaveSchedule,
    stop: StopRequest,
) -> bool:
    if options.continue_run and resumed is None:
        LOGGER.warning("--c: there is no checkpoint to continue from in %s, starting a new run", options.output)
        for file in sorted(options.output.parent.glob(f"{checkpoint.FOLDER_PREFIX}*/{checkpoint.LATEST_NAME}")):
            LOGGER.warning("  another one is unfinished (other flags?): %s", file)
    sources = on_first_process(
        fabric,
        lambda: open_sources(
            planned,
            config,
            folders,
            workers=options.workers,
            show_progress=True,
            earlier=resumed and resumed["genesis"],
        ),
    )
    learned = learned_plans(planned, config)
    intensities = _measure_range(planned, sources, config, options, resumed)
    quarantine = _open_quarantine(fabric, planned, config, options, sources=sources, resumed=resumed)
    prepared = on_first_process(
        fabric,
        lambda: prepare_pretext(
            config,
            learned,
            sources,
            folders=folders,
            folder=options.output,
            workers=options.workers,
            earlier=resumed and resumed["genesis"],
        ),
    )
    pretext = build_pretext(config, learned, intensities, prepared)
    description = {
        **describe_run(learned, config, sources=sources, intensities=intensities, pretext=pretext),
        "quarantined_cases": quarantine.names,  # it grows
    }
    network = build_pretext_network(learned, pretext, config.seed)
    if resumed is not None:
        check_same_data(resumed["genesis"], description, options.output / checkpoint.LATEST_NAME)
        description = keep_known_scans(description, resumed["genesis"])
        check_same_heads(network, resumed["training_state"], options.output / checkpoint.LATEST_NAME)
    wrapped, optimizer = _set_up(fabric, network, config, options.device)
    state = TrainingState(step=0)
    if resumed is not None:
        _restore(fabric, network, optimizer, resumed, state)

    total_steps = config.epochs * config.iterations_per_epoch
    patches = pretext.training_patches(sources, config)
    replaced = quarantine.training(with_channels_drawn(patches, config), math.prod(pretext.patch_size))
    loader = build_loader(
        replaced,
        StepSampler(state.step, total_steps, config.batch_size, fabric.global_rank, fabric.world_size),
        workers=options.workers,
        pin_memory=options.device == "cuda",
        collate=collate,
    )
    validation = ValidationPairs(
        [
            ValidationSource(
                source.name,
                quarantine.held_out(with_channels_drawn(held_out, config), source),
                source.chance,
                number,
            )
            for number, source in enumerate(sources)
            if len(source.validation) and (held_out := pretext.validation_patches(source, config)) is not None
        ],
        pretext,
        seed=config.seed,
        count=config.val_pairs,
        fabric=fabric,
    )
    # A continued run knows them: measuring them again would take minutes where there are many pairs.
    known = None if resumed is None else Baselines.from_dict(resumed["genesis"].get("baselines", {}))
    baselines = validation.baselines() if known is None else known
    files = RunFiles(options.output, description, nnssl_adaptation_plan(learned))
    on_first_process(fabric, lambda: files.check_space(network))
    LOGGER.info(
        "%s on %s, %s, %s; batch %d on %d process(es), %s",
        config.pretext,
        planned.dataset_name,
        planned.plans_name,
        planned.configuration,
        config.batch_size,
        fabric.world_size,
        fabric.device,
    )
    for source in sources:
        LOGGER.info("%s", source.describe())
    if isinstance(patches, PatchDataset):
        LOGGER.info("%s", describe_background(patches))
    LOGGER.info("output: %s", options.output)
    monitor = _start_record(planned, config, options, first_step=state.step) if fabric.is_global_zero else None
    stop.defer()
    if resumed is None:
        # From here on there is something to continue from, whenever the run is killed; a full disk shows now, too.
        save_latest(fabric, network, optimizer, state=state, baselines=baselines, files=files, stop=stop, must=True)
    try:
        with loading(loader) as batches:
            finished = train(
                fabric,
                config,
                network=network,
                wrapped=wrapped,
                optimizer=optimizer,
                pretext=pretext,
                batches=quarantine.watch(
                    batches, replaced, fabric, first_step=state.step, batch_size=config.batch_size
                ),
                validation=validation,
                baselines=baselines,
                state=state,
                files=files,
                monitor=monitor,
                schedule=schedule,
                stop=stop,
            )
    finally:
        if monitor is not None:
            monitor.close()
    if fabric.is_global_zero and finished:
        with stop.saving():
            file = files.write_final(network.network, progress_entry(state, baselines))
        LOGGER.info("finished: %s", file)
    elif not finished:
        LOGGER.info(
            "stopped after step %d of %d; continue%s with:\n  %s",
            state.step,
            total_steps,
            same_launcher(),
            options.command,
        )
    return finished


def _start_record(
    planned: PlannedConfiguration, config: PretrainingConfig, options: RunOptions, *, first_step: int
) -> Monitor:
    """Make way in the output folder for what this run writes."""
    if options.overwrite:
        remove_results(options.output)
    return Monitor(
        options.output,
        title=f"{config.pretext}, {planned.dataset_name}, {planned.configuration}",
        spacing=planned.spacing,
        total_steps=config.epochs * config.iterations_per_epoch,
        first_step=first_step,
    )


def _restore(
    fabric: Fabric, network: PretextNetwork, optimizer: Any, resumed: dict[str, Any], state: TrainingState
) -> None:
    """Go on where a checkpoint ends; only its ``genesis`` entry stays, as tensors take three times the weights."""
    restore_learned(fabric, network, optimizer, resumed)
    del resumed["network_weights"]
    restore_progress(resumed.pop("training_state"), resumed["genesis"], state=state, fabric=fabric)


def _measure_range(
    planned: PlannedConfiguration,
    sources: list[Source],
    config: PretrainingConfig,
    options: RunOptions,
    resumed: dict[str, Any] | None,
) -> IntensityRange:
    """Measure the intensities of the cases; a continued run, some of whose cases may be damaged, knows them."""
    if resumed is not None:
        stored = resumed["genesis"]["intensity_range"]
        return IntensityRange(**{name: tuple(values) for name, values in stored.items()})
    samples = sample_intensities(sources, numpy_generator(config.seed, Stream.INTENSITIES), workers=options.workers)
    return learned_range(planned, config, samples)


def _open_quarantine(
    fabric: Fabric,
    planned: PlannedConfiguration,
    config: PretrainingConfig,
    options: RunOptions,
    *,
    sources: list[Source],
    resumed: dict[str, Any] | None,
) -> Quarantine:
    mend = mending_command(planned, config.pools)
    quarantine = Quarantine(options.output, sources, mend, writes=fabric.is_global_zero)
    if resumed is None:
        quarantine.start_anew()
    else:
        quarantine.restore(on_first_process(fabric, lambda: quarantine.take_over(options.workers)))
    return quarantine


def _read_latest(options: RunOptions, config: PretrainingConfig) -> dict[str, Any] | None:
    file = options.output / checkpoint.LATEST_NAME
    if not file.exists():
        if (options.output / checkpoint.BEST_NAME).exists():
            raise CheckpointError(
                f"there is nothing to continue from, but a {checkpoint.BEST_NAME} that a new run would replace",
                where=options.output,
                mend="--overwrite to replace it, or --output for another folder",
            )
        return None
    try:
        content = checkpoint.read(file)
    except CheckpointError as error:
        raise CheckpointError(
            error.problem,
            where=file,
            mend="--overwrite to start anew, or --output for another folder;"
            f" {checkpoint.BEST_NAME} beside it, if it exists, holds weights to train from; the file was left as it is",
        ) from error
    if "training_state" not in content:
        raise CheckpointError("the file holds weights but nothing to continue from", where=file, mend="--overwrite")
    check_same_run(config_of(content, file), config, file)
    return content


def can_be_fused(device: str, precision: Precision) -> bool | None:
    """Whether one kernel may take the optimizer's steps, and skip them without the host; None: as torch chooses.

    The scaler of 16-mixed skips steps, too, and refuses such kernels; under bf16-mixed Fabric has none.
    """
    return (device == "cuda" and getattr(precision, "scaler", None) is None) or None


def _set_up(fabric: Fabric, network: PretextNetwork, config: PretrainingConfig, device: str) -> tuple[nn.Module, Any]:
    optimizer = build_optimizer(
        network.to(fabric.device), config, fused=can_be_fused(device, fabric.strategy.precision)
    )
    compiled = cast("nn.Module", torch.compile(network)) if should_compile(device) else network
    wrapped, optimizer = fabric.setup(compiled, optimizer)
    return wrapped, optimizer
