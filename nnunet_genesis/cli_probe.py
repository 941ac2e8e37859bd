"""``genesis probe``: what frozen features tell of modality and source, before and after pretraining."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.cli_config import choose_workers
from nnunet_genesis.cli_device import DEVICES, choose_device
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.processes import preprocessing_workers

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration

REPORT_NAME, PICTURE_NAME = "probe.json", "probe.png"
_FILES = "checkpoints, exported encoders or hf://user/repo; compared side by side, beside random weights"
_SOURCES = (
    "'labelled' for the cases of DATASET, names of pools, names or ids of datasets; two at least (default: what the"
    " first checkpoint learned from)"
)
_GROUPS = (
    "table (csv) with the header case,group that keeps scans of one group, e.g. of one patient, on one side; a case is"
    " named CASE (of DATASET) or SOURCE/CASE"
)


def add_probe_command(commands: Any) -> None:
    """Add the parser to those of ``genesis``."""
    parser = commands.add_parser(
        "probe",
        help="say how well modality and source can be read from the features of checkpoints, and draw the features",
        description="Train linear probes for modality and source on the frozen features of checkpoints and of random"
        " weights, test them on scans that no checkpoint learned from, and draw the features.",
    )
    add = parser.add_argument
    add("checkpoints", nargs="+", metavar="CHECKPOINT", help=_FILES)
    add("--sources", nargs="+", metavar="SOURCE", help=_SOURCES)
    add("--names", nargs="+", metavar="NAME", help="how to call the checkpoints, one each (default: by their folders)")
    add("-d", dest="dataset", help="name or id of the dataset whose plans are used (default: the first checkpoint's)")
    add("-c", dest="configuration", help="nnU-Net configuration (default: the first checkpoint's)")
    add("-p", dest="plans", help="nnU-Net plans identifier (default: the first checkpoint's)")
    add(
        "--modality",
        nargs="+",
        action="extend",
        default=[],
        metavar="SOURCE=NAME",
        help="modality of a source (default: its channel names; a pool's own name)",
    )
    add("--groups", type=Path, metavar="FILE", help=_GROUPS)
    add("--scans", type=int, default=32, help="scans per source at most, as many of each (default: %(default)s)")
    add("--patches", type=int, default=8, help="patches per scan (default: %(default)s)")
    add("--seed", type=int, default=0, help="of scans, patches, folds and random weights (default: 0)")
    add("--umap", action="store_true", help="draw UMAP instead of PCA coordinates (needs umap-learn)")
    add("-device", choices=DEVICES, help="default: cuda where there is one, else cpu")
    add(
        "-np",
        dest="workers",
        type=int,
        help="threads that read (default: nnUNet_def_n_proc, else one per core up to 8)",
    )
    add("--output", type=Path, help="new folder (default: genesis_probe_DATASET_CONFIGURATION)")
    parser.set_defaults(action=_probe)


def _probe(options: argparse.Namespace) -> int:
    from nnunet_genesis.folders import refuse_used_folder
    from nnunet_genesis.hub import resolve
    from nnunet_genesis.interop import open_source
    from nnunet_genesis.plans import load_planned_configuration
    from nnunet_genesis.pretraining.modalities import parse_modalities
    from nnunet_genesis.probing.encoders import learned_single_channel
    from nnunet_genesis.probing.projection import require_umap
    from nnunet_genesis.probing.run import ProbeConfig, run_probe

    workers = choose_workers(options.workers, preprocessing_workers())
    config = ProbeConfig(options.scans, options.patches, options.seed)
    told = parse_modalities(options.modality)
    device = choose_device(options.device)
    if options.umap:
        require_umap()
    facts = open_source(resolve(options.checkpoints[0])).facts
    dataset = options.dataset or facts.get("dataset")
    if dataset is None:
        raise SetupError("the first checkpoint does not tell its dataset", mend="-d DATASET")
    planned = load_planned_configuration(
        dataset,
        options.plans or facts.get("plans") or "nnUNetPlans",
        options.configuration or facts.get("configuration") or "3d_fullres",
        needs_cases=False,
    )
    output = options.output or Path(f"genesis_probe_{planned.dataset_name}_{planned.configuration}")
    refuse_used_folder(output, "the probe")
    result = run_probe(
        planned,
        resolve_probe_sources(
            options.sources or _learned_sources(facts, planned),
            planned,
            single_channel=learned_single_channel(facts, planned),
        ),
        config,
        files=options.checkpoints,
        names=options.names or (),
        told_modalities=told,
        groups_file=options.groups,
        device=device,
        workers=workers,
        show_progress=True,
    )

    from nnunet_genesis.probing.picture import draw_probe

    output.mkdir(parents=True, exist_ok=True)
    report, picture = output / REPORT_NAME, output / PICTURE_NAME
    report.write_text(json.dumps(result.as_dict(), indent=2) + "\n")
    title = f"{planned.dataset_name}, {planned.configuration}: features of the deepest stage, {result.split.kind}"
    draw_probe(picture, result, title, by_umap=options.umap)
    sys.stdout.write("\n".join([*result.notes(), "", "balanced accuracy of linear probes (95 % interval over scans)"]))
    sys.stdout.write("\n" + "\n".join([*result.table(), "", str(report), str(picture)]) + "\n")
    return 0


def resolve_probe_sources(
    names: Sequence[str], planned: PlannedConfiguration, *, single_channel: bool = False
) -> PretrainingConfig:
    """Settings that name these sources.

    Args:
        names: "labelled" or the dataset itself, pools, names or ids of datasets.
        planned: The dataset's plans.
        single_channel: Whether patches show one channel of their scan, as in a pretraining with ``--single-channel``.

    Raises:
        SetupError: If there is no source of a name.
    """
    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.pretraining.source_folders import OWN_CASES, resolve_dataset_name
    from nnunet_genesis.pretraining.unlabeled.pool import find_pools

    there = find_pools(planned)
    own = False
    pools: list[str] = []
    datasets: list[str] = []
    for name in names:
        is_dataset = name.isdecimal() or name.startswith("Dataset")
        if name == OWN_CASES:
            own = True
        elif name in there:
            pools.append(name)
        elif not is_dataset:
            raise SetupError(
                f"--sources {name}: there is no such pool; pools here: {', '.join(there) or '(none)'}",
                where=planned.pools_folder,
                mend="name 'labelled', a pool or a dataset; genesis preprocess-unlabeled makes pools",
            )
        else:
            full = planned.dataset_name if _is_own(name, planned) else resolve_dataset_name(planned, name)
            own, datasets = (True, datasets) if full == planned.dataset_name else (own, [*datasets, full])
    # Which pretext is named has no influence on the sources.
    return PretrainingConfig(
        pretext="models-genesis",
        batch_size=1,
        labelled=own,
        pools=tuple(pools),
        datasets=tuple(datasets),
        single_channel=single_channel,
    )


def _is_own(name: str, planned: PlannedConfiguration) -> bool:
    return name.isdecimal() and int(name) == int(planned.dataset_name[7:10])


def _learned_sources(facts: Mapping[str, Any], planned: PlannedConfiguration) -> list[str]:
    """Names of the sources that a checkpoint tells, if it is one of the same dataset."""
    sources = facts.get("sources") or () if facts.get("dataset") == planned.dataset_name else ()
    names = [str(source["name"]) for source in sources]
    if not names:
        raise SetupError(
            f"the first checkpoint does not tell sources of {planned.dataset_name}", mend="--sources labelled POOL"
        )
    return names
