"""What pools change in pretraining: runs on labelled cases alone beside runs on labelled cases and pools.

    python -m benchmarks.pool_gain --alone A0.pth A1.pth --with-pools B0.pth B1.pth --json

Checkpoints of the same seed are compared: A0 with B0, A1 with B1, ... Both are judged on the same held-out pairs of
every source of the second, which neither has seen: a seed splits the labelled cases alike whatever is added to them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning_fabric import Fabric

from benchmarks.machine import add_report_flags, report
from nnunet_genesis import checkpoint
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.machine import count_cores
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.data import PatchDataset
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.pretraining.pretexts import build_pretext
from nnunet_genesis.pretraining.source_folders import find_source_folders
from nnunet_genesis.pretraining.sources import open_sources
from nnunet_genesis.pretraining.validation import ValidationPairs, ValidationSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnunet_genesis.plans import PlannedConfiguration

PAIRS = 96


def held_out_pairs(genesis: Mapping[str, Any], planned: PlannedConfiguration) -> ValidationPairs:
    """The held-out pairs of all sources of a run, more of them than the run itself was judged on."""
    config = PretrainingConfig.from_dict(genesis["config"])
    sources = open_sources(
        planned, config, find_source_folders(planned, config), workers=count_cores(), show_progress=False
    )
    intensities = IntensityRange(**{key: tuple(values) for key, values in genesis["intensity_range"].items()})
    return ValidationPairs(
        [
            # Alike, so that every source is judged on as many pairs.
            ValidationSource(source.name, PatchDataset.for_validation(source, planned.patch_size, config), 1.0)
            for source in sources
        ],
        build_pretext(config, planned, intensities),
        seed=config.seed,
        count=PAIRS,
        fabric=Fabric(accelerator="cpu", devices=1),
    )


def judge(file: Path, pairs: ValidationPairs, planned: PlannedConfiguration) -> dict[str, float]:
    """Losses of a checkpoint per source."""
    network = planned.build_restoration_network()
    network.load_state_dict(checkpoint.read(file)["network_weights"])
    return dict(pairs.evaluate(PretextNetwork(network, None)).restoration)


def main() -> None:
    """Judge, and write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", nargs="+", type=Path, required=True, help="runs on labelled cases alone")
    parser.add_argument("--with-pools", nargs="+", type=Path, required=True, help="runs of the same seeds with pools")
    add_report_flags(parser)
    options = parser.parse_args()
    losses: dict[str, dict[str, list[float]]] = {}
    for alone, with_pools in zip(options.alone, options.with_pools, strict=True):
        genesis = checkpoint.read(with_pools)["genesis"]
        planned = load_planned_configuration(genesis["dataset"], genesis["plans"], genesis["configuration"])
        pairs = held_out_pairs(genesis, planned)
        baselines = pairs.baselines()
        judged = {"alone": judge(alone, pairs, planned), "with pools": judge(with_pools, pairs, planned)}
        for name, own in baselines.sources.items():
            row = losses.setdefault(name, {"alone": [], "with pools": [], "best blur": []})
            row["alone"].append(judged["alone"][name])
            row["with pools"].append(judged["with pools"][name])
            row["best blur"].append(own.blurred)
    steps = genesis["config"]["epochs"] * genesis["config"]["iterations_per_epoch"]
    lines = [f"{len(options.alone)} seed(s), {steps} steps of {genesis['config']['batch_size']} patches", ""]
    lines += [
        f"{'held-out scans of':>20} {'labelled alone':>22} {'with pools':>22} {'best blur':>12}   difference per seed"
    ]
    figures: dict[str, float] = {}
    for name, row in losses.items():
        means = {kind: (float(np.mean(values)), float(np.ptp(values)) / 2) for kind, values in row.items()}
        differences = [second - first for first, second in zip(row["alone"], row["with pools"], strict=True)]
        cells = [f"{mean:.4f} +- {half:.4f}" for mean, half in (means["alone"], means["with pools"])]
        told = ", ".join(f"{difference:+.4f}" for difference in differences)
        lines.append(f"{name:>20} {cells[0]:>22} {cells[1]:>22} {means['best blur'][0]:>12.4f}   {told}")
        figures |= {f"{kind} {name}".replace(" ", "_"): mean for kind, (mean, _) in means.items()}
    lines.append("(mean squared error in normalised units; +- is half the range over seeds)")
    report("pool_gain", "\n".join(lines), figures, save=options.save, as_json=options.json)


if __name__ == "__main__":
    main()
