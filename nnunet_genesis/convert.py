"""Write the weights of any readable file as a checkpoint of ours."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from nnunet_genesis import __version__, checkpoint
from nnunet_genesis.errors import CheckpointError, SetupError
from nnunet_genesis.interop.genesis import KIND as GENESIS_KIND
from nnunet_genesis.networks import build_source_network, num_image_channels, num_inputs
from nnunet_genesis.transfer.names import encoder_family, is_head
from nnunet_genesis.weights_digest import weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from nnunet_genesis.interop.source import SourceModel

_COPIED_FACTS = (
    "plans",
    "configuration",
    "patch_size",
    "spacing",
    "channel_names",
    "normalization_schemes",
    "foreground_intensities",
    "trainer",
    "notes",
)


def convert(source: SourceModel, out: Path) -> list[str]:
    """Write a file that `nnUNetTrainerGenesis` starts from.

    Where the file holds all tensors of its network, the result also works with stock nnU-Net's
    ``-pretrained_weights``, which wants every tensor under all of its names.

    Args:
        source: What was read.
        out: New file.

    Returns:
        What was done, a line each.

    Raises:
        CheckpointError: If the file is one of ours already.
        SetupError: If `out` exists.
    """
    if out.exists():
        raise SetupError("the file is there already", where=out, mend="name another file, or delete this one")
    if not out.parent.is_dir():
        raise SetupError("no such folder", where=out.parent, mend=f"mkdir -p {shlex.quote(str(out.parent))}")
    if encoder_family(source.weights) is None:
        raise CheckpointError(
            f"the file ({source.kind}) holds no encoder of nnU-Net's U-Nets: nothing could start from it",
            where=source.file,
            mend="genesis inspect FILE shows what it is",
        )
    if source.kind == GENESIS_KIND:
        raise CheckpointError(
            "the file is a checkpoint of nnunet-genesis already",
            where=source.file,
            mend=f"cp it to {shlex.quote(str(out))}",
        )
    weights, note = _complete(source)
    facts = source.facts
    genesis: dict[str, Any] = {
        "format_version": checkpoint.FORMAT_VERSION,
        "pretext": facts.get("method", "unknown"),
        "dataset": facts.get("dataset", "unknown"),
        "epochs": facts.get("epochs", 0),
        "num_cases": facts.get("num_cases", 0),
        "cases": {},
        "validation_cases": {},
        "num_channels": num_image_channels(source),
        "architecture": source.architecture,
        "citations": list(facts.get("citations", ())),
        "package_versions": dict(facts.get("package_versions", {})),
        "converted": {
            "from": source.kind,
            "file": source.file.name,
            "sha256": checkpoint.sha256_of_file(source.file),
            "by": f"nnunet-genesis {__version__}",
        },
        **{name: facts[name] for name in _COPIED_FACTS if name in facts},
    }
    genesis[checkpoint.CHECKSUM_KEY] = weights_digest(weights)
    checkpoint.write(out, {"network_weights": weights, "genesis": genesis})
    return [f"{source.kind} written as a checkpoint of nnunet-genesis: {out}", note]


def _complete(source: SourceModel) -> tuple[Mapping[str, torch.Tensor], str]:
    """All tensors under all names, where the file has them; else those that it has."""
    if source.architecture is None:
        return dict(source.weights), "its architecture is unknown: only nnUNetTrainerGenesis can read it"
    heads = [tensor for name, tensor in source.weights.items() if is_head(name) and name.endswith("weight")]
    channels = num_inputs(source)
    network = build_source_network(source, channels, heads[0].shape[0] if heads else channels)
    own = {name: tensor.shape for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
    if own != {name: tensor.shape for name, tensor in source.weights.items()}:
        return dict(source.weights), (
            "its tensors are not exactly those of the network that it describes: only nnUNetTrainerGenesis can read it"
        )
    network.load_state_dict(dict(source.weights), strict=False)
    return network.state_dict(), "complete: nnUNetTrainerGenesis and stock -pretrained_weights can read it"
