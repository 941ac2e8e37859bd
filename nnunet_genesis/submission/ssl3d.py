"""``--format ssl3d``: a pretrained ResEnc-L as benchmarks of pretraining take it (SSL3D challenge, OpenMind).

The organisers fine-tune it with their own code, which finds the encoder by the file's ``nnssl_adaptation_plan`` (Wald
et al., An OpenMind for 3D medical vision self-supervised learning, arXiv 2412.17041). A file that does not fit would
fail there, or be trained from scratch without a word; so everything that the file tells is checked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError, SetupError
from nnunet_genesis.interop import nnssl, open_source
from nnunet_genesis.interop.safe_reading import read_safely
from nnunet_genesis.networks import build_source_network
from nnunet_genesis.nnunet_folders import find_dataset_folder, folder_from_environment
from nnunet_genesis.submission.archive import refuse_existing
from nnunet_genesis.submission.provenance import FILE_NAME, write_submission_json
from nnunet_genesis.submission.ssl3d_checks import find_problems
from nnunet_genesis.transfer.names import ENCODER_PREFIX, is_alias

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.interop.source import SourceModel

CLASS_NAME = "ResEncL"
"""nnssl's name of the architecture; a file of this name describes it no further."""
_LONG_ENTRIES = ("cases", "validation_cases", "scans", "history")


def submit_ssl3d(file: Path, output: Path, *, any_patch: bool = False) -> list[Path]:
    """Check a pretraining, write it as nnssl's, and read it back.

    Args:
        file: A checkpoint of this package, or of nnssl.
        output: Folder for the file and its provenance.
        any_patch: Whether to take a pretraining with other patches than OpenMind's.

    Returns:
        The checkpoint and its provenance.

    Raises:
        CheckpointError: If the file cannot be read, or does not fit; it names everything that does not.
        SetupError: If a file of that name exists.
    """
    target = output / checkpoint.FINAL_NAME
    for name in (target, output / FILE_NAME):
        refuse_existing(name)
    content, source = read_safely(file), open_source(file)
    plan = content.get("nnssl_adaptation_plan")
    if not isinstance(plan, Mapping):
        raise CheckpointError(
            f"the file ({source.kind}) has no nnssl_adaptation_plan, which the organisers' code looks for",
            where=file,
            mend="give the checkpoint_final.pth that genesis-pretrain-nnunet wrote",
        )
    problems = find_problems(source, content["network_weights"], plan, any_patch=any_patch)
    if problems:
        raise CheckpointError(
            f"{len(problems)} thing(s) do not fit an SSL3D submission; nothing was written:\n"
            + "\n".join(f"    {problem}" for problem in problems),
            where=file,
            mend="pretrain with plans of exactly this network: docs/submission.md shows how to make them",
        )
    output.mkdir(parents=True, exist_ok=True)
    told = content.get("genesis", {})
    checkpoint.write(
        target,
        {
            "network_weights": content["network_weights"],
            "nnssl_adaptation_plan": {**plan, "architecture_plans": _architecture_plans()},
            "trainer_name": str(
                content.get("trainer_name") or f"nnunet_genesis {source.facts.get('method', '')}".strip()
            ),
            "current_epoch": int(source.facts.get("epochs") or 0),
        },
    )
    _prove_readable(target, source)
    provenance = {
        "format": "ssl3d",
        "file": {"name": target.name, "sha256": checkpoint.sha256_of_file(target)},
        "from": {"file": str(file), "sha256": checkpoint.sha256_of_file(file), "kind": source.kind},
        "architecture": CLASS_NAME,
        "patch_size": source.facts.get("patch_size"),
        "pretraining": {key: len(value) if key in _LONG_ENTRIES else value for key, value in told.items()},
    }
    return [target, write_submission_json(output, provenance)]


def find_pretraining(dataset_name_or_id: str, plans_name: str | None, configuration: str | None) -> Path:
    """The only finished pretraining of a dataset, of these plans and this configuration where they are named.

    Raises:
        SetupError: If there is none, or several; it lists them.
    """
    name = find_dataset_folder(dataset_name_or_id).name
    results = folder_from_environment("nnUNet_results") / name
    chosen = plans_name or "*", configuration or "*"
    found = sorted({*checkpoint.find_finished(results, *chosen), *checkpoint.find_finished(results, *chosen, "*")})
    if len(found) == 1:
        return found[0]
    there = "\n".join(f"    {file}" for file in found)
    raise SetupError(
        f"several pretrainings of {name} are finished:\n{there}" if found else f"no pretraining of {name} is finished",
        where=results,
        mend="name one: --checkpoint FILE" if found else f"genesis-pretrain-nnunet {name} -p PLANS",
    )


def _architecture_plans() -> dict[str, Any]:
    """As nnssl writes it for its own ResEnc-L."""
    return {"arch_class_name": CLASS_NAME, "arch_kwargs": None, "arch_kwargs_requiring_import": None}


def _prove_readable(target: Path, source: SourceModel) -> None:
    """Read the file as nnssl's, build its network, and compare every tensor; a file that fails is removed."""
    try:
        again = open_source(target)
        network = build_source_network(again, 1, 1)
        missing = [
            name
            for name in network.load_state_dict(dict(again.weights), strict=False).missing_keys
            if name.startswith(ENCODER_PREFIX) and not is_alias(name)
        ]
        own = {name: tensor for name, tensor in source.weights.items() if name.startswith(ENCODER_PREFIX)}
        differing = [name for name, tensor in own.items() if not torch.equal(again.weights[name], tensor)]
        if again.kind != nnssl.KIND or missing or differing:
            raise SetupError(
                f"the file was written, but reads back as {again.kind} with {len(missing)} tensors missing and"
                f" {len(differing)} changed; it was removed",
                where=target,
                mend="report this: it is a mistake of nnunet-genesis",
            )
    except BaseException:
        target.unlink()
        raise
