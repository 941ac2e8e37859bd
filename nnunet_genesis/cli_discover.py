"""``genesis discover``: the classes that Semantic Genesis would learn, to be looked at before it does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.cli_config import add_plans_flags, choose_workers, resolve_config
from nnunet_genesis.cli_pretexts import add_setting_flags
from nnunet_genesis.cli_sources import add_source_flags
from nnunet_genesis.pretraining.processes import preprocessing_workers

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
    add_plans_flags(parser)
    add = parser.add_argument
    add(
        "-np",
        dest="workers",
        type=int,
        default=None,
        help="threads that read (default: nnUNet_def_n_proc, else one per core up to 8)",
    )
    add("--seed", type=int, default=0, help="default: 0")
    add("--val-fraction", type=float, default=0.1, help="share of the cases held out for validation (default: 0.1)")
    add_setting_flags(parser, ("--classes", "--features", "--modality"))
    add_source_flags(parser)
    add("--output", type=Path, help="output folder of the pretraining (default: inside nnUNet_results/DATASET)")
    parser.set_defaults(action=_discover, pretext=PRETEXT, num_gpus=1)


def _discover(options: argparse.Namespace) -> int:
    from nnunet_genesis.plans import load_planned_configuration

    workers = choose_workers(options.workers, preprocessing_workers())
    planned = load_planned_configuration(options.dataset, options.plans, options.configuration, needs_cases=False)
    config = resolve_config(options, planned)

    from nnunet_genesis.pretraining.discovery.discover import describe
    from nnunet_genesis.pretraining.discovery.figure import draw_discovery
    from nnunet_genesis.pretraining.discovery.storage import PICTURE_NAME, discovery_file
    from nnunet_genesis.pretraining.pretexts import prepare_pretext
    from nnunet_genesis.pretraining.source_folders import find_source_folders
    from nnunet_genesis.pretraining.sources import open_sources

    folder = options.output or planned.pretraining_folder(PRETEXT, config.exclude_fold)
    folders = find_source_folders(planned, config)
    sources = open_sources(planned, config, folders, workers=workers, show_progress=True)
    discovery = prepare_pretext(config, planned, sources, folders=folders, folder=folder, workers=workers)
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
