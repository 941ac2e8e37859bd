"""All that steps change: weights, heads, optimizer and scaler, taken out and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.run_files import on_cpu

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lightning_fabric import Fabric

    from nnunet_genesis.pretraining.pretext_network import PretextNetwork


def learned_state(fabric: Fabric, network: PretextNetwork, optimizer: Any) -> dict[str, Any]:
    """What a checkpoint holds of it besides the network's weights."""
    return {
        "heads": {} if network.heads is None else on_cpu(network.heads.state_dict()),
        "optimizer": optimizer.state_dict(),
        "scaler": dict(fabric.strategy.precision.state_dict()),
    }


def check_same_heads(network: PretextNetwork, content: Mapping[str, Any], file: Path) -> None:
    """Refuse to continue a run whose pretext had other heads, as those of an earlier version may.

    Args:
        network: With the heads of the run that is about to start.
        content: ``training_state`` of a checkpoint.
        file: For the message.

    Raises:
        SetupError: Naming a head that only one of them has, or that has another shape.
    """
    heads = {} if network.heads is None else network.heads.state_dict()
    here, there = ({name: tuple(values.shape) for name, values in each.items()} for each in (heads, content["heads"]))
    differing = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    if differing:
        first = differing[0]
        raise SetupError(
            f"--c continues a run, and its pretext has other heads than this version of nnunet-genesis builds: {first}"
            f" is {there.get(first, 'missing')} in the file, {here.get(first, 'missing')} here",
            where=file,
            mend="continue with the version that wrote the file (its genesis.package_versions), or start anew with"
            " --output",
        )


def restore_learned(fabric: Fabric, network: PretextNetwork, optimizer: Any, content: Mapping[str, Any]) -> None:
    """Put it back.

    Args:
        fabric: Engine of this process.
        network: With its heads, as they were before Fabric prepared them, or after.
        optimizer: As Fabric prepared it.
        content: ``network_weights`` and ``training_state`` of a checkpoint.
    """
    stored = content["training_state"]
    network.network.load_state_dict(content["network_weights"])
    if network.heads is not None:
        network.heads.load_state_dict(stored["heads"])
    _load_optimizer(optimizer, stored["optimizer"])
    if stored["scaler"]:
        fabric.strategy.precision.load_state_dict(stored["scaler"])


def _load_optimizer(optimizer: Any, stored: Mapping[str, Any]) -> None:
    """Load a state that may be of another device: by which kernels steps are computed is not taken from it."""
    here = [{name: own[name] for name in ("fused", "foreach") if name in own} for own in optimizer.param_groups]
    groups = [{**theirs, **own} for theirs, own in zip(stored["param_groups"], here, strict=True)]
    optimizer.load_state_dict({**stored, "param_groups": groups})
