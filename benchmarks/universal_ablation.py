"""What each part of the Universal Model does: restoration of scans that were excluded, heads, and linear probes.

    genesis probe RUNS/*_A_*/checkpoint_final.pth --names ... --sources labelled ct t1 --groups patients.csv --output A
    python -m benchmarks.universal_ablation RUNS --probe A/probe.json B/probe.json --json

RUNS holds an output folder of genesis-pretrain-nnunet per run, named VARIANT_..., the rest as you like; one of the
variants is "restoration". Runs that excluded the same scans restore the same pairs of Models Genesis of these: their
own validation losses cannot be compared, as patches of several scales are blurred. "head" is the accuracy of a run's
own classifier on its held-out scans, "recall" the share of a source's patches that the probe of sources names. The
second table compares runs with the run of restoration alone that excluded the same scans and began with the same seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning_fabric import Fabric
from scipy import stats
from tqdm import tqdm

from benchmarks.charts import draw_parts
from benchmarks.machine import add_report_flags, report
from nnunet_genesis import checkpoint
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.machine import count_cores
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

PAIRS_PER_SOURCE = 24
SEED = 2026
ALONE = "restoration"
RANDOM = "random weights"
PROBE = "modality probe"
RESTORED = "restoration error"
HEADS = ("val_scale_accuracy", "val_modality_accuracy")


def excluded_pairs(genesis: Mapping[str, Any], planned: PlannedConfiguration) -> ValidationPairs:
    """Models Genesis pairs of the scans that a run excluded, as many of every source."""
    config = PretrainingConfig.from_dict(genesis["config"])
    sources = []
    for folder in find_source_folders(planned, config):
        index = open_index(folder, workers=count_cores(), show_progress=False)
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
    with (folder / "progress.csv").open(newline="", encoding="utf-8") as stream:
        last = list(csv.DictReader(stream))[-1]
    return {name.split("_")[1] + " head": float(last[name]) for name in HEADS if last.get(name)}


def read_probes(files: Sequence[Path]) -> dict[str, list[dict[str, float]]]:
    """Balanced accuracies, and recalls of sources, per name of a checkpoint: one entry per file that has the name."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for file in files:
        for encoder in json.loads(file.read_text())["encoders"]:
            probes = {f"{target} probe": probe["balanced_accuracy"] for target, probe in encoder["probes"].items()}
            source = encoder["probes"]["source"]
            recalls = zip(source["classes"], source["recalls"], strict=True)
            found[encoder["name"]].append({**probes, **{f"{name} recall": recall for name, recall in recalls}})
    return dict(found)


@dataclass(frozen=True)
class Run:
    """What was measured of one pretraining.

    Attributes:
        variant: Which parts it had.
        excluded: The scans that it never saw, and is judged by.
        seed: What its weights and patches were drawn with.
        columns: Restoration error per source, and accuracies.
    """

    variant: str
    excluded: frozenset[str]
    seed: int
    columns: Mapping[str, float]


def judge(
    folders: Sequence[Path], probes: Mapping[str, Sequence[Mapping[str, float]]]
) -> tuple[list[Run], list[dict[str, float]]]:
    """Measure every run, and the best blur of each choice of excluded scans."""
    runs, blurs = [], []
    pairs: dict[frozenset[str], ValidationPairs] = {}
    for folder in tqdm(folders, unit="run"):
        content = checkpoint.read(folder / checkpoint.FINAL_NAME)
        genesis = content["genesis"]
        planned = load_planned_configuration(genesis["dataset"], genesis["plans"], genesis["configuration"])
        excluded = frozenset(genesis["excluded_cases"])
        if excluded not in pairs:
            pairs[excluded] = excluded_pairs(genesis, planned)
            blurs.append({name: source.blurred for name, source in pairs[excluded].baselines().sources.items()})
        network = planned.build_restoration_network()
        network.load_state_dict(content["network_weights"])
        restoration = pairs[excluded].evaluate(PretextNetwork(network, None)).restoration
        probed = probes.get(folder.name, [{}])[0]
        columns = {**restoration, **read_heads(folder), **probed}
        runs.append(Run(folder.name.partition("_")[0], excluded, genesis["config"]["seed"], columns))
    return runs, blurs


def rows_of(
    runs: Sequence[Run], blurs: Sequence[Mapping[str, float]], probes: Mapping[str, Sequence[Mapping[str, float]]]
) -> dict[str, dict[str, list[float]]]:
    """Variant to column to a value per run; best blurs and random weights are rows, too."""
    entries = [("best blur", blur) for blur in blurs] + [(run.variant, run.columns) for run in runs]
    entries += [(RANDOM, probe) for probe in probes.get(RANDOM, [])]
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, columns in entries:
        for column, value in columns.items():
            rows[name][column].append(value)
    return rows


def differences(runs: Sequence[Run], sources: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Each run against restoration alone with the same excluded scans and seed.

    Returns:
        Variant to quantity to a value per pair of runs: the relative change of the restoration error (mean over
        sources), and the differences of the probes' accuracies.
    """
    alone = {(run.excluded, run.seed): run for run in runs if run.variant == ALONE}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        other = alone.get((run.excluded, run.seed))
        if other is None or run.variant == ALONE:
            continue
        errors = [np.mean([each.columns[source] for source in sources]) for each in (run, other)]
        found[run.variant][RESTORED].append(float(errors[0] / errors[1] - 1))
        for column in run.columns:
            if column.endswith(("probe", "recall")) and column in other.columns:
                found[run.variant][column].append(run.columns[column] - other.columns[column])
    return found


def with_interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval (Student's t over runs), and how many runs there are."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:+.3f} (one run)"
    half = float(stats.t.isf(0.025, len(values) - 1) * stats.sem(values))
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f}), {len(values)} runs"


def main() -> None:
    """Judge, and write a table and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument(
        "--probe",
        type=Path,
        nargs="+",
        default=[],
        help="probe.json files of the same checkpoints, named like their folders",
    )
    parser.add_argument("--picture", type=Path, help="draw probes of modality and the change of restoration there")
    add_report_flags(parser)
    options = parser.parse_args()
    if options.picture and not options.probe:
        parser.error("--picture draws probes: name their files with --probe")
    folders = sorted(file.parent for file in options.runs.glob(f"*/{checkpoint.FINAL_NAME}"))
    probes = read_probes(options.probe)
    runs, blurs = judge(folders, probes)
    rows = rows_of(runs, blurs, probes)
    config = checkpoint.read(folders[0] / checkpoint.FINAL_NAME)["genesis"]["config"]
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    width = max(map(len, rows)) + 2
    lines = [
        f"{config['epochs'] * config['iterations_per_epoch']} steps of {config['batch_size']} patches,"
        f" {config['precision']}, seeds {sorted({run.seed for run in runs})},"
        f" {len(blurs)} choices of excluded scans",
        "restoration: mean squared error in normalised units; mean and standard deviation over runs",
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
    lines += [
        "",
        "minus restoration alone with the same excluded scans and seed: mean, 95 % interval (Student's t)",
        "",
    ]
    against = differences(runs, list(blurs[0]))
    for variant, quantities in against.items():
        for quantity, values in quantities.items():
            lines.append(f"{variant:<{width}}{quantity:<20}{with_interval(values)}")
            figures[f"{variant} minus restoration: {quantity}".replace(" ", "_")] = float(np.mean(values))
    if options.picture:
        draw_parts(
            options.picture,
            {name: rows[name][PROBE] for name in (ALONE, *against)},
            {name: against[name][RESTORED] for name in against},
            alone=ALONE,
            reference=(RANDOM, float(np.mean(rows[RANDOM][PROBE]))),
        )
    report("universal_ablation", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
