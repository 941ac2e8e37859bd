"""``genesis preprocess-unlabeled``: from folders of raw scans to pools that pretraining uses."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import GenesisError, SetupError
from nnunet_genesis.pretraining.processes import preprocessing_workers

if TYPE_CHECKING:
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.unlabeled.build import BuildOptions

_DESCRIPTION = """Preprocess scans without labels by the plans of a dataset, into a pool for genesis-pretrain-nnunet.

-i takes folders (with all folders below), files, and tables. NIfTI, NRRD, MHA/MHD, DICOM series and whatever the plans'
own reader knows are found; several channels as nnU-Net names them, CASE_0000.nii.gz, CASE_0001.nii.gz. A table is a
.csv with the header case,channel,path or a .json list of such objects, for files that are named otherwise.

Scans that cannot be used are left out, each with its reason in report.csv; equal scans are kept once. Interrupt it at
any time: the same command goes on. Source files are only read."""


def add_unlabeled_command(commands: Any) -> None:
    """Add the parser to those of ``genesis``."""
    parser = commands.add_parser(
        "preprocess-unlabeled",
        help="preprocess scans without labels into a pool for pretraining",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-d", dest="dataset", metavar="DATASET", required=True, help="name or id of the dataset whose plans are used")
    add("-c", dest="configuration", default="3d_fullres", help="nnU-Net configuration (default: %(default)s)")
    add("-p", dest="plans", default="nnUNetPlans", help="nnU-Net plans identifier (default: %(default)s)")
    add("-i", dest="inputs", metavar="PATH", nargs="+", type=Path, help="folders, files, tables; needs --name")
    add("--name", metavar="POOL", help="name of the pool that the scans of -i go into; an existing one is continued")
    add(
        "--datasets",
        metavar="ID",
        nargs="+",
        help="imagesTr of other raw datasets, with or without labels; a pool each",
    )
    add(
        "--imagesTs",
        dest="test_images",
        action="store_true",
        help="imagesTs of DATASET, as pool imagesTs. In a challenge only where its rules allow training on unlabelled"
        " test images; and a score on them is then none of unseen images: say so wherever you report it",
    )
    add("--exclude-fold", type=int, metavar="K", help="leave out scans whose voxels equal a validation case of fold K")
    add(
        "--exclude",
        type=Path,
        metavar="LIST",
        help="leave out scans with the same voxels as those that a text file names, one per line: a case in imagesTr or"
        " imagesTs of DATASET, or a path relative to the list",
    )
    add(
        "--single-channel",
        action="store_true",
        help="every channel of a scan becomes a case of its own, normalised like the first channel of the plans: scans"
        " with any number of channels can be learned from, by plans with several with genesis-pretrain-nnunet"
        " --single-channel",
    )
    add("-np", dest="workers", type=int, help="processes (default: nnUNet_def_n_proc, else one per core up to 8)")
    add(
        "--max-voxels",
        type=int,
        metavar="N",
        help="leave out scans with more voxels per channel; a process needs up to 80 bytes for each (default: 5e8)",
    )
    add("--timeout", type=float, metavar="SECONDS", help="most that one scan may take (default: 1800)")
    add(
        "--strict", action="store_true", help="end with an error where a scan cannot be used, after the others are done"
    )
    parser.set_defaults(action=_preprocess_unlabeled)


def _preprocess_unlabeled(options: argparse.Namespace) -> int:
    _check_options(options)
    from nnunet_genesis.plans import load_planned_configuration
    from nnunet_genesis.pretraining.unlabeled.build import build_pool
    from nnunet_genesis.pretraining.unlabeled.report import check_outcome, describe_outcome

    planned = load_planned_configuration(options.dataset, options.plans, options.configuration, needs_cases=False)
    flags_of_use: list[str] = []
    if options.single_channel:
        from nnunet_genesis.pretraining.single_channel import single_channel_plans

        flags_of_use += ["--single-channel"] if planned.num_channels > 1 else []
        planned = single_channel_plans(planned)
    pools = _list_pools(options, planned)
    build_options = _build_options(options, planned, flags_of_use)
    refused: list[GenesisError] = []
    for name, inputs in pools.items():
        outcome = build_pool(planned, inputs, name, build_options)
        sys.stdout.write("\n".join(describe_outcome(outcome)) + "\n")
        sys.stdout.flush()
        try:
            check_outcome(outcome, strict=options.strict)
        except GenesisError as error:
            refused.append(error)
    for earlier in refused[:-1]:
        sys.stderr.write(f"error: {earlier}\n")
    if refused:
        raise refused[-1]
    return 0


def _check_options(options: argparse.Namespace) -> None:
    from nnunet_genesis.pretraining.source_folders import OWN_CASES

    if not (options.inputs or options.datasets or options.test_images):
        raise SetupError("there is nothing to preprocess", mend="-i FOLDER --name POOL, --datasets ID, or --imagesTs")
    if bool(options.inputs) != bool(options.name):
        given, missing = ("-i", "--name POOL") if options.inputs else ("--name", "-i FOLDER")
        raise SetupError(f"{given} needs {missing}", mend="-i FOLDER --name POOL")
    if options.name and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", options.name):
        raise SetupError(
            f"--name {options.name!r}: only letters, digits, '_', '-' and '.', which must not come first",
            mend="--name chest_ct",
        )
    if options.name == OWN_CASES:
        raise SetupError(
            f"--name {OWN_CASES}: that is what the dataset's own cases are called among the sources of a run",
            mend="--name chest_ct",
        )
    if options.workers is not None and options.workers < 1:
        raise SetupError(f"-np {options.workers}: must be at least 1", mend="-np 2")
    if options.max_voxels is not None and options.max_voxels < 1:
        raise SetupError(f"--max-voxels {options.max_voxels}: must be at least 1", mend="--max-voxels 500000000")
    if options.timeout is not None and not (0 < options.timeout < math.inf):
        raise SetupError(f"--timeout {options.timeout:g}: must be above 0", mend="--timeout 1800")


def _list_pools(options: argparse.Namespace, planned: PlannedConfiguration) -> dict[str, list[Path]]:
    from nnunet_genesis.pretraining.unlabeled.pool import IMAGES_TS_POOL
    from nnunet_genesis.pretraining.unlabeled.raw_datasets import find_raw_images

    pools: dict[str, list[Path]] = {}
    if options.inputs:
        pools[options.name] = options.inputs
    if options.test_images:
        pools.setdefault(IMAGES_TS_POOL, []).append(find_raw_images(planned.dataset_name, "imagesTs")[1])
    for dataset in options.datasets or []:
        name, folder = find_raw_images(dataset, "imagesTr")
        if name == planned.dataset_name:
            raise SetupError(
                f"--datasets {dataset}: {name} is the dataset whose plans are used; its cases are no pool",
                mend=f"nnUNetv2_preprocess -d {int(name[7:10])} -p {planned.plans_name} -c {planned.configuration}",
            )
        pools[name] = [folder]
    return pools


def _build_options(options: argparse.Namespace, planned: PlannedConfiguration, flags_of_use: list[str]) -> BuildOptions:
    from nnunet_genesis.pretraining.unlabeled import build, exclusion

    settings = build.BuildOptions(
        workers=options.workers or preprocessing_workers(),
        seconds=options.timeout or build.SECONDS_PER_SCAN,
        max_voxels=options.max_voxels or build.MAX_VOXELS,
        command=shlex.join(["genesis", *sys.argv[1:]]),
        channels_apart=options.single_channel,
    )
    excluded: dict[str, str] = {}
    if options.exclude_fold is not None:
        excluded.update(exclusion.keys_of_fold(planned, options.exclude_fold, workers=settings.workers))
    if options.exclude is not None:
        endings = build.reader_endings(planned)
        excluded.update(exclusion.keys_of_list(planned, options.exclude, settings, endings=endings))
    flags = [("--exclude-fold", str(options.exclude_fold))] if options.exclude_fold is not None else []
    flags += [("--exclude", str(options.exclude.absolute()))] if options.exclude is not None else []
    return replace(
        settings,
        excluded=excluded,
        exclusions=tuple(" ".join(flag) for flag in flags),
        flags_of_use=(*flags_of_use, *(word for flag in flags for word in flag)),
    )
