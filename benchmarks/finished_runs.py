"""Finished trainings of `genesis benchmark` on this machine, for scripts that look into their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis.benchmark.collect import run_folder_of
from nnunet_genesis.benchmark.record import Record, read_record
from nnunet_genesis.benchmark.run_folder import State
from nnunet_genesis.benchmark.runs import control_of, is_full
from nnunet_genesis.errors import SetupError
from nnunet_genesis.planned_networks import PlannedNetwork, list_planned_networks
from nnunet_genesis.trainers.schedules import STANDARD

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    from nnunet_genesis.benchmark.runs import Run


def open_benchmark(folder: Path) -> tuple[Record, PlannedNetwork]:
    """The record of a benchmark, and the network of its plans.

    Raises:
        SetupError: If there is none, its plans are gone, or it is not of 3D networks and images alone.
    """
    record = read_record(folder)
    if record is None:
        raise SetupError("there is no benchmark", where=folder, mend="genesis benchmark DATASET")
    settings = record.settings
    for planned in list_planned_networks(settings.dataset, settings.plans):
        if (planned.plans_name, planned.configuration) == (settings.plans, settings.configuration):
            if len(planned.patch_size) != 3 or planned.image_channels != planned.input_channels:
                raise SetupError(
                    f"{planned.configuration}: these scripts are for 3D networks that see images alone",
                    where=folder,
                    mend="take a benchmark with -c 3d_fullres",
                )
            return record, planned
    raise SetupError(
        f"plans {settings.plans}, configuration {settings.configuration}, are gone",
        where=folder,
        mend=f"put the plans back into nnUNet_preprocessed/{settings.dataset}",
    )


def finished_runs(
    folder: Path, record: Record, labelled: int | None, initialisations: Container[str] | None = None
) -> Iterator[tuple[str, Run, dict[str, torch.Tensor]]]:
    """Trainings by nnU-Net's own schedule: name of the initialisation, the run, and the weights that it ended with.

    Args:
        folder: Of the benchmark.
        record: Of the benchmark.
        labelled: How many labelled cases they were trained on; None for the fewest.
        initialisations: From what they began; None for all.

    Raises:
        SetupError: If there is none.
    """
    count = min(subset.labelled for subset in record.subsets) if labelled is None else labelled
    found = False
    for run in record.runs.values():
        if run.key.labelled != count or control_of(run.key.schedule) != STANDARD:
            continue
        if initialisations is not None and run.key.initialisation not in initialisations:
            continue
        files = run_folder_of(folder, run)
        last = [file for file in files.checkpoints() if file.name == "checkpoint_final.pth"]
        if files.state() is State.FINISHED and last:
            checkpoint: dict[str, Any] = torch.load(last[0], map_location="cpu", weights_only=False)
            name = run.key.initialisation + (" with decoder" if is_full(run.key.schedule) else "")
            found = True
            yield name, run, checkpoint["network_weights"]
    if not found:
        raise SetupError(
            f"no training by the standard schedule on {count} labelled cases has finished and kept its weights",
            where=folder,
            mend="genesis benchmark DATASET --keep-checkpoints final (or choose others by --labelled)",
        )
