"""What each part of the Universal Model does: restoration of scans that were excluded, heads, and linear probes.

    genesis probe RUNS/*/checkpoint_final.pth --names ... --sources labelled ct t1 --groups patients.csv --output PROBE
    python -m benchmarks.universal_ablation RUNS --probe PROBE/probe.json --json

RUNS holds an output folder of genesis-pretrain-nnunet per run, named VARIANT_SEED, all with the same --exclude. All
restore the same pairs of Models Genesis of the excluded scans: their own validation losses cannot be compared, as
patches of several scales are blurred. "head" is the accuracy of a run's own classifier on its held-out scans.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning_fabric import Fabric

from benchmarks.machine import report
from nnunet_genesis import checkpoint
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.source_index import open_index
from nnunet_genesis.pretraining.sources import qualified
from nnunet_genesis.pretraining.validation import ValidationPairs, ValidationSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.plans import PlannedConfiguration

PAIRS_PER_SOURCE = 64
SEED = 2026
HEADS = ("val_scale_accuracy", "val_modality_accuracy")


def excluded_pairs(genesis: Mapping[str, Any], planned: PlannedConfiguration) -> ValidationPairs:
    """Models Genesis pairs of the scans that a run excluded, as many of every source."""
    config = PretrainingConfig.from_dict(genesis["config"])
    sources = []
    for folder in find_source_folders(planned, config):
        index = open_index(folder, workers=os.cpu_count() or 1, show_progress=False)
        wanted = [qualified(folder.name, str(case)) in genesis["excluded_cases"] for case in index.identifiers]
        patches = PatchDataset(
            [index.select(np.array(wanted))],
            [1.0],
            planned.patch_size,
            max_background_share=config.max_background_share,
            seed=(SEED,),
        )
        sources.append(ValidationSource(folder.name, patches, 1.0))
    intensities = IntensityRange(**{key: tuple(values) for key, values in genesis["intensity_range"].items()})
    pretext = ModelsGenesis(config.models_genesis, planned.patch_size, intensities)
    fabric = Fabric(accelerator="cpu", devices=1)
    return ValidationPairs(sources, pretext, seed=SEED, count=PAIRS_PER_SOURCE * len(sources), fabric=fabric)


def read_heads(folder: Path) -> dict[str, float]:
    """Accuracies of the run's own heads after its last epoch."""
    with (folder / "progress.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    return {name.split("_")[1] + " head": float(last[name]) for name in HEADS if last.get(name)}


def read_probe(file: Path) -> dict[str, dict[str, float]]:
    """Balanced accuracies per checkpoint, by the names that the probe was given."""
    content = json.loads(file.read_text())
    return {
        encoder["name"]: {f"{target} probe": probe["balanced_accuracy"] for target, probe in encoder["probes"].items()}
        for encoder in content["encoders"]
    }


def judge(folders: Sequence[Path], probes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Everything that was measured: variant to column to a value per run."""
    genesis = checkpoint.read(folders[0] / checkpoint.FINAL_NAME)["genesis"]
    planned = load_planned_configuration(genesis["dataset"], genesis["plans"], genesis["configuration"])
    pairs = excluded_pairs(genesis, planned)
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, baseline in pairs.baselines().sources.items():
        rows["best blur"][name].append(baseline.blurred)
    for folder in folders:
        network = planned.build_restoration_network()
        network.load_state_dict(checkpoint.read(folder / checkpoint.FINAL_NAME)["network_weights"])
        found = {**pairs.evaluate(PretextNetwork(network, None)).restoration, **read_heads(folder)}
        for column, value in {**found, **probes.get(folder.name, {})}.items():
            rows[folder.name.rpartition("_")[0]][column].append(value)
    for name, own in probes.items():
        if name not in {folder.name for folder in folders}:
            for column, value in own.items():
                rows[name][column].append(value)
    return rows


def main() -> None:
    """Judge, and write a table and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--probe", type=Path, help="probe.json of the same checkpoints, named like their folders")
    parser.add_argument("--save", action="store_true", help="keep the results in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    folders = sorted(file.parent for file in options.runs.glob(f"*/{checkpoint.FINAL_NAME}"))
    rows = judge(folders, read_probe(options.probe) if options.probe else {})
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    width = max(map(len, rows)) + 2
    config = checkpoint.read(folders[0] / checkpoint.FINAL_NAME)["genesis"]["config"]
    lines = [
        f"{config['epochs'] * config['iterations_per_epoch']} steps of {config['batch_size']} patches,"
        f" {config['precision']}, seeds {sorted({folder.name.rpartition('_')[2] for folder in folders})}",
        "restoration: mean squared error in normalised units; mean and standard deviation over seeds",
        "",
        " " * width + "".join(f"{column:>18}" for column in columns),
    ]
    figures: dict[str, float] = {}
    for variant, row in rows.items():
        cells = []
        for column in columns:
            values = row.get(column, [])
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
            cells.append(f"{np.mean(values):.3f}" + (f" +- {spread:.3f}" if len(values) > 1 else "") if values else "-")
            if values:
                figures[f"{variant} {column}".replace(" ", "_")] = float(np.mean(values))
        lines.append(f"{variant:<{width}}" + "".join(f"{cell:>18}" for cell in cells))
    report("universal_ablation", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
