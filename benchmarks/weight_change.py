"""How far every part of the network moved from where its training began: was the pretraining kept, or written over?

    python -m benchmarks.weight_change FOLDER... [--labelled N] [--picture FILE] [--save]

FOLDER is one of `genesis benchmark` on this machine (schedule `standard`, checkpoints kept). Initial weights are made
again: those of the seed, with the pretrained encoder put in as the trainer does. A change is the norm of the difference
over the norm at the beginning, over all convolutions of a part. A norm layer follows each of them, so the scale of a
convolution does nothing but slow its own change; that scale is printed beside.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.charts import draw_changes
from benchmarks.finished_runs import finished_runs, open_benchmark
from benchmarks.machine import report
from nnunet_genesis.benchmark.runs import is_full
from nnunet_genesis.benchmark.scores import SCRATCH
from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.interop import open_source
from nnunet_genesis.trainers.seeding import Stream, seed_generators
from nnunet_genesis.transfer import load_weights
from nnunet_genesis.transfer.names import is_alias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nnunet_genesis.benchmark.record import Record
    from nnunet_genesis.benchmark.runs import Run
    from nnunet_genesis.planned_networks import PlannedNetwork

PART = re.compile(r"(encoder|decoder)\.stages\.(\d+)\..*conv\.weight")
UNTRAINED = "decoder.seg_layers.0.weight"
"""The lowest head: nnU-Net gives it no weight in the loss, so it shows whether initial weights are the right ones."""


def begin(run: Run, record: Record, planned: PlannedNetwork) -> dict[str, torch.Tensor]:
    """The weights that a training began with."""
    seed_generators(run.key.seed, Stream.INITIAL_WEIGHTS)
    network = planned.build()
    if run.key.initialisation != SCRATCH:
        source = open_source(Path(record.initialisations[run.key.initialisation]["file"]))
        part = "full" if is_full(run.key.schedule) else "encoder"
        load_weights(network, source, part=part, image_channels=planned.image_channels)
    return network.state_dict()


def measure(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> dict[str, tuple[float, float]]:
    """Per part, the relative change and the norm before; parts are in the order in which images go through them."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in before:
        if (found := PART.match(name)) and not is_alias(name):
            groups[f"{found[1]} {int(found[2]) + 1}"].append(name)
    measured = {}
    for part in sorted(groups, key=lambda part: (part.startswith("decoder"), part)):
        old, new = (torch.cat([weights[name].flatten() for name in groups[part]]) for weights in (before, after))
        measured[part] = (((new - old).norm() / old.norm()).item(), old.norm().item())
    return measured


def measure_all(folder: Path, labelled: int | None) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Names of initialisations, and what was measured of each of their finished trainings."""
    record, planned = open_benchmark(folder)
    for name, run, after in finished_runs(folder, record, labelled):
        before = begin(run, record, planned)
        if not torch.equal(before[UNTRAINED], after[UNTRAINED]):
            raise SetupError(
                f"{run.identifier} began with other weights than are made here: a part that never trains differs",
                where=folder,
                mend="use the plans, the pretrained file and the torch of the training",
            )
        yield name, measure(before, after)


def main() -> None:
    """Measure all finished trainings of the named benchmarks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--labelled", type=int, help="cases that they were trained on (default: the fewest)")
    parser.add_argument("--picture", type=Path, help="where to draw it")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, tuple[float, float]]]] = defaultdict(list)
    for folder in options.folders:
        for name, measured in measure_all(folder, options.labelled):
            runs[name].append(measured)
    changes = {
        name: {part: [one[part][0] for one in measured] for part in measured[0]} for name, measured in runs.items()
    }
    figures: dict[str, float] = {}
    lines = []
    for name, parts in changes.items():
        lines.append(f"{name} ({len(runs[name])} trainings)")
        for part, values in parts.items():
            scale = float(np.mean([one[part][1] for one in runs[name]]))
            usual = float(np.mean([one[part][1] for one in runs[SCRATCH]]))
            figures |= {f"{name}/{part}/change": float(np.mean(values)), f"{name}/{part}/scale": scale / usual}
            lines.append(
                f"  {part}: moved by {100 * np.mean(values):5.1f} %"
                f" ({100 * min(values):.1f} to {100 * max(values):.1f});"
                f" norm at the beginning {scale / usual:.2f} of scratch's"
            )
    if options.picture:
        draw_changes(options.picture, changes)
    report("weight_change", "\n".join(lines), figures, save=options.save, as_json=False)


if __name__ == "__main__":
    try:
        main()
    except GenesisError as error:
        sys.exit(str(error))
