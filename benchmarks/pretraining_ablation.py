"""Pretrains Models Genesis several times, each time with one setting changed, to ask which of them a gain hangs on.

    python -m benchmarks.pretraining_ablation DATASET --epochs 40 --iterations-per-epoch 50 --output FOLDER

Further flags are those of genesis-pretrain-nnunet, --exclude above all; everything but the one setting is alike, the
seed, too. Each variant has a folder in FOLDER; one that is finished there is left alone. Then `genesis benchmark` with
--initialisation VARIANT=FILE, and benchmarks.voxel_probe, tell what the encoders are worth.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_genesis.checkpoint import FINAL_NAME
from nnunet_genesis.cli_config import add_plans_flags, resolve_config
from nnunet_genesis.cli_pretexts import add_pretext_flags
from nnunet_genesis.cli_sources import add_source_flags
from nnunet_genesis.errors import GenesisError
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.interruption import StopRequest
from nnunet_genesis.pretraining.run import RunOptions, run_pretraining

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nnunet_genesis.config import PretrainingConfig


def weaken(config: PretrainingConfig) -> PretrainingConfig:
    """Halve the chance of each distortion; flips, which are no distortion, stay."""
    genesis = config.models_genesis
    halved = replace(
        genesis,
        shuffling_probability=genesis.shuffling_probability / 2,
        intensity_probability=genesis.intensity_probability / 2,
        painting_probability=genesis.painting_probability / 2,
    )
    return replace(config, models_genesis=halved)


VARIANTS: Mapping[str, Callable[[PretrainingConfig], PretrainingConfig]] = {
    "lr-0.0003": lambda config: replace(config, learning_rate=3e-4),
    "lr-0.003": lambda config: replace(config, learning_rate=3e-3),
    "quarter-length": lambda config: replace(config, epochs=max(1, config.epochs // 4)),
    "double-length": lambda config: replace(config, epochs=config.epochs * 2),
    "half-distortions": weaken,
}


def main() -> None:
    """Pretrain every variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_plans_flags(parser)
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--iterations-per-epoch", type=int, required=True)
    parser.add_argument("--precision")
    parser.add_argument("--seed", type=int)
    parser.add_argument("-device", default="cpu")
    parser.add_argument("--output", type=Path, required=True)
    add_pretext_flags(parser)
    add_source_flags(parser)
    parser.set_defaults(num_gpus=1)
    options = parser.parse_args()
    planned = load_planned_configuration(options.dataset, options.plans, options.configuration, needs_cases=False)
    usual = resolve_config(options, planned)
    with StopRequest() as stop:
        for name in options.variants:
            folder = options.output / name
            if (folder / FINAL_NAME).exists():
                continue
            run = RunOptions(folder, options.device, workers=0, command="the same command again", continue_run=True)
            if not run_pretraining(planned, VARIANTS[name](usual), run, stop):
                sys.exit(stop.exit_code)
            sys.stdout.write(f"{name}={folder / FINAL_NAME}\n")


if __name__ == "__main__":
    try:
        main()
    except GenesisError as error:
        sys.exit(str(error))
