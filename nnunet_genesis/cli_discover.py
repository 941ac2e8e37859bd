"""``genesis discover``: the classes that Semantic Genesis would learn, to be looked at before it does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.cli_pretexts import add_setting_flags, resolve_pretext
from nnunet_genesis.cli_sources import add_source_flags, resolve_sources
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import argparse

PRETEXT = "semantic-genesis"
"""The pretext that uses discoveries; its output folder is where they are kept."""


def add_discover_command(commands: Any) -> None:
    """Add the parser to those of ``genesis``."""
    parser = commands.add_parser(
        "discover",
        help="find the places that scans have in common, the classes of Semantic Genesis, and draw them",
        description="Find the places that scans have in common, the classes of Semantic Genesis, and draw them."
        " What is found is kept where genesis-pretrain-nnunet --pretext semantic-genesis with the same flags looks for"
        " it.",
    )
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="name or id of a preprocessed dataset, e.g. Dataset003_Liver or 3")
    add("-c", dest="configuration", default="3d_fullres", help="nnU-Net configuration (default: %(default)s)")
    add("-p", dest="plans", default="nnUNetPlans", help="nnU-Net plans identifier (default: %(default)s)")
    add("-np", dest="workers", type=int, default=None, help="threads that read (default: one per core)")
    add("--seed", type=int, default=0, help="default: 0")
    add("--val-fraction", type=float, default=0.1, help="share of the cases held out for validation (default: 0.1)")
    add_setting_flags(parser, ("--classes", "--features"))
    add_source_flags(parser)
    add("--output", type=Path, help="output folder of the pretraining (default: inside nnUNet_results/DATASET)")
    parser.set_defaults(action=_discover)


def _discover(options: argparse.Namespace) -> int:
    from nnunet_genesis.checkpoint import folder_name
    from nnunet_genesis.plans import load_planned_configuration

    if options.workers is not None and options.workers < 0:
        raise SetupError(f"-np {options.workers}: must not be negative", mend="-np 2")
    planned = load_planned_configuration(options.dataset, options.plans, options.configuration, needs_cases=False)
    settings: dict[str, Any] = {
        "seed": options.seed,
        "val_fraction": options.val_fraction,
        "exclude_fold": options.exclude_fold,
    }
    if options.source_weights is not None:
        settings["source_weights"] = options.source_weights
    settings |= resolve_pretext(options, PretrainingConfig(PRETEXT, batch_size=1))
    config = PretrainingConfig(PRETEXT, batch_size=1, **{**settings, **resolve_sources(options, planned)})

    from nnunet_genesis.pretraining.discovery.discover import describe, discover
    from nnunet_genesis.pretraining.discovery.figure import draw_discovery
    from nnunet_genesis.pretraining.discovery.storage import PICTURE_NAME, discovery_file
    from nnunet_genesis.pretraining.source_folders import find_source_folders
    from nnunet_genesis.pretraining.sources import open_sources

    folder = options.output or planned.results_folder / folder_name(PRETEXT, planned.plans_name, planned.configuration)
    workers = os.cpu_count() or 1 if options.workers is None else options.workers
    sources = open_sources(planned, config, find_source_folders(planned, config), workers=workers, show_progress=True)
    discovery = discover(
        planned,
        config.semantic_genesis.discovery,
        sources,
        seed=config.seed,
        folder=folder,
        workers=workers,
        show_progress=True,
    )
    file = discovery_file(folder, discovery.provenance)
    picture = file.with_name(PICTURE_NAME)
    title = f"{planned.dataset_name}, {planned.configuration}: {describe(discovery)}"
    draw_discovery(picture, discovery, sources, title)
    for source in sources:
        sys.stdout.write(f"{source.describe()}\n")
    sys.stdout.write(f"{describe(discovery)}\n")
    errors = discovery.report.get("reconstruction_error")
    if errors:
        learned, mean = errors["autoencoder"], errors["mean_image"]
        sys.stdout.write(f"auto-encoder's error on held-out scans: {learned:.3f} (mean image: {mean:.3f})\n")
    sys.stdout.write(f"{file}\n{picture}\n")
    return 0
