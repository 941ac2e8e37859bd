"""What a checkpoint says of itself: enough to repeat the run, to judge leakage, and to load the weights elsewhere."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nnunet_genesis import __version__
from nnunet_genesis.checkpoint import FORMAT_VERSION
from nnunet_genesis.plain_values import plain
from nnunet_genesis.pretraining.processes import torchrun_name
from nnunet_genesis.pretraining.source_folders import OWN_CASES
from nnunet_genesis.pretraining.sources import qualified

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_genesis.config import PretrainingConfig
    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.case_index import CaseIndex
    from nnunet_genesis.pretraining.intensities import IntensityRange
    from nnunet_genesis.pretraining.pretexts.base import Pretext
    from nnunet_genesis.pretraining.sources import Source

NNUNET_CITATION = "Isensee et al., nnU-Net, Nature Methods 18, 2021"
_PACKAGES = (
    "nnunetv2",
    "dynamic_network_architectures",
    "torch",
    "lightning-fabric",
    "numpy",
    "scikit-learn",
    "blosc2",
)


def describe_run(
    planned: PlannedConfiguration,
    config: PretrainingConfig,
    *,
    sources: Sequence[Source],
    intensities: IntensityRange,
    pretext: Pretext[Any],
) -> dict[str, Any]:
    """The constant part of the checkpoint's ``genesis`` entry, in plain values.

    Cases of the dataset itself are named as they are, those of other sources ``SOURCE/CASE``. ``scans`` holds the keys
    of the raw voxels of all of them, by which a scan is recognised in other datasets and formats. ``patch_size`` is the
    plans', which a continued run must share; the settings of a pretext that learns from crops tell their ``crop_size``.
    """
    return {
        "format_version": FORMAT_VERSION,
        "pretext": config.pretext,
        "pretext_settings": pretext.settings(),
        "config": config.as_dict(),
        "dataset": planned.dataset_name,
        "plans": planned.plans_name,
        "configuration": planned.configuration,
        "patch_size": list(planned.patch_size),
        "spacing": list(planned.spacing),
        "channel_names": list(planned.channel_names),
        "num_channels": planned.num_channels,
        "normalization_schemes": list(planned.normalization_schemes),
        "foreground_intensities": [plain(dict(statistics)) for statistics in planned.foreground_intensities],
        "intensity_range": {key: list(values) for key, values in asdict(intensities).items()},
        "architecture": plain(planned.architecture),
        "num_cases": sum(len(source.train) for source in sources),
        "cases": {name: sha for source in sources for name, sha in _hashes(source, source.train)},
        "validation_cases": {name: sha for source in sources for name, sha in _hashes(source, source.validation)},
        "excluded_cases": [qualified(source.name, case) for source in sources for case in source.excluded],
        "scans": sorted(
            {str(key) for source in sources for key in (*source.train.scans, *source.validation.scans) if key}
        ),
        "sources": [
            {
                "name": source.name,
                "kind": source.kind,
                "own": source.name == OWN_CASES,
                "num_cases": len(source.train),
                "num_validation_cases": len(source.validation),
                "num_excluded": len(source.excluded),
                "num_repeated": len(source.repeated),
                "num_without_key": sum(not key for key in (*source.train.scans, *source.validation.scans)),
                "chance": source.chance,
            }
            for source in sources
        ],
        "package_versions": {
            "nnunet_genesis": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        "seed": config.seed,
        "torchrun": torchrun_name(),
        "citations": [*pretext.citations, NNUNET_CITATION],
    }


def keep_known_scans(description: dict[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What a continued run says of its scans: all that was known of them before, also where raw images are gone since.

    Args:
        description: From `describe_run`, of the same cases.
        earlier: The ``genesis`` entry of the checkpoint that the run is continued from.
    """
    before = {source["name"]: source for source in earlier.get("sources", ())}
    sources = []
    for source in description["sources"]:
        known = {**source, **before.get(source["name"], {})}
        least = min(source["num_without_key"], known["num_without_key"])
        most = max(source["num_excluded"], known["num_excluded"])
        sources.append({**source, "num_without_key": least, "num_excluded": most})
    return {
        **description,
        "sources": sources,
        "scans": sorted({*description["scans"], *earlier.get("scans", ())}),
        "excluded_cases": list(dict.fromkeys([*earlier.get("excluded_cases", ()), *description["excluded_cases"]])),
    }


def nnssl_adaptation_plan(planned: PlannedConfiguration) -> dict[str, Any]:
    """The entry that nnssl's adaptation loaders (nnU-Net, nnDetection) look for.

    Residual encoders of nnU-Net have a stem of their own; in plain ones the first stage takes its place.
    """
    class_name = str(planned.architecture["network_class_name"]).rsplit(".", 1)[-1]
    stem = "encoder.stem" if "Residual" in class_name else "encoder.stages.0.0"
    configuration = {"patch_size": list(planned.patch_size), "spacing": list(planned.spacing)}
    return {
        "architecture_plans": {
            "arch_class_name": class_name,
            "arch_kwargs": plain(planned.architecture["arch_kwargs"]),
            "arch_kwargs_requiring_import": list(planned.architecture["_kw_requires_import"]),
        },
        "pretrain_plan": {
            "dataset_name": planned.dataset_name,
            "plans_name": planned.plans_name,
            "configurations": {planned.configuration: configuration},
        },
        "pretrain_num_input_channels": planned.num_channels,
        "recommended_downstream_patchsize": list(planned.patch_size),
        "key_to_encoder": "encoder.stages",
        "key_to_stem": stem,
        "keys_to_in_proj": [f"{stem}.convs.0.conv", f"{stem}.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }


def _hashes(source: Source, index: CaseIndex) -> list[tuple[str, str]]:
    return [
        (qualified(source.name, str(case)), str(sha256))
        for case, sha256 in zip(index.identifiers, index.sha256, strict=True)
    ]
