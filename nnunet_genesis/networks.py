"""Networks from the ``architecture`` entry of nnU-Net's plans."""

from __future__ import annotations

import pydoc
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.transfer.names import ENCODER_PREFIX, first_convolutions, num_stages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from nnunet_genesis.interop.source import SourceModel

_TRUSTED_PACKAGES = ("torch.nn.", "dynamic_network_architectures.")
"""Where the classes that a file of weights names may come from; all that nnU-Net's planners write is in here."""


def build_network(architecture: Mapping[str, Any], input_channels: int, num_outputs: int) -> nn.Module:
    """Build the network that nnU-Net builds from the same entry, initialised as nnU-Net does.

    The entry decides which classes are imported and called: it must come from the user's own plans. For the entry of a
    file of weights there is `build_source_network`.

    Args:
        architecture: With ``network_class_name``, ``arch_kwargs`` and ``_kw_requires_import``.
        input_channels: Channels of the input.
        num_outputs: Channels of the output.

    Returns:
        Network mapping (batch, input_channels, *patch_size) to (batch, num_outputs, *patch_size), without deep
        supervision (its heads exist all the same).
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    network: nn.Module = get_network_from_plans(
        architecture["network_class_name"],
        dict(architecture["arch_kwargs"]),
        architecture["_kw_requires_import"],
        input_channels,
        num_outputs,
        allow_init=True,
        deep_supervision=False,
    )
    return network


def build_source_network(source: SourceModel, input_channels: int, num_outputs: int) -> nn.Module:
    """Build the network that a file of weights describes, if it names nothing but layers and networks.

    Its weights are random; the global random generator is left as it was.

    Raises:
        CheckpointError: If the file describes no network, names anything else, or the network cannot be built.
    """
    import torch

    if source.architecture is None:
        raise CheckpointError(
            f"the file ({source.kind}) does not tell its network's architecture",
            where=source.file,
            mend="use a file that genesis-pretrain-nnunet or nnUNetv2_train wrote",
        )
    _check_classes(source)
    try:
        with torch.random.fork_rng(devices=[]):
            _check_size(source, input_channels, num_outputs)
            return build_network(source.architecture, input_channels, num_outputs)
    except CheckpointError:
        raise
    except Exception as error:  # the classes check their arguments with whatever comes to hand
        raise CheckpointError(
            f"the network that the file describes cannot be built: {type(error).__name__}: {error}",
            where=source.file,
            mend="pip install --upgrade dynamic_network_architectures nnunetv2",
        ) from error


def num_input_channels(source: SourceModel) -> int:
    """Input channels of the network whose weights a file holds: those of its first convolution, else what it tells."""
    first = first_convolutions(source.weights)
    if first:
        return int(source.weights[min(first)].shape[1])
    told = source.facts.get("num_input_channels")
    return told if isinstance(told, int) and told > 0 else 1


def _check_size(source: SourceModel, input_channels: int, num_outputs: int) -> None:
    """Refuse a network that is much larger than its weights, before it takes memory."""
    import torch

    architecture: Mapping[str, Any] = source.architecture or {}
    stages, held_stages = architecture["arch_kwargs"]["n_stages"], num_stages(source.weights)
    sizes = []
    if stages == held_stages:
        with torch.device("meta"):
            network = build_network(architecture, input_channels, num_outputs)
        sizes = [tensor.numel() for tensor in network.get_submodule("encoder").parameters()]
    held = sum(tensor.numel() for name, tensor in source.weights.items() if name.startswith(ENCODER_PREFIX))
    if stages != held_stages or sum(sizes) > 2 * held:
        raise CheckpointError(
            f"the file describes an encoder of {stages} stages"
            + (f" and {sum(sizes)} parameters" if sizes else "")
            + f", and holds one of {held_stages} stages and {held} parameters",
            where=source.file,
            mend="use the file as it was written",
        )


def _check_classes(source: SourceModel) -> None:
    """Refuse names that are not classes of layers: nnU-Net would import and call whatever a file names."""
    from torch import nn

    architecture: Mapping[str, Any] = source.architecture or {}
    try:
        arguments = architecture["arch_kwargs"]
        names = [
            architecture["network_class_name"],
            *(arguments[key] for key in architecture["_kw_requires_import"] if arguments[key] is not None),
        ]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the architecture in the file is incomplete ({error!r})", where=source.file) from error
    for name in names:
        trusted = isinstance(name, str) and name.startswith(_TRUSTED_PACKAGES)
        found = pydoc.locate(name) if trusted else None
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise CheckpointError(
                f"the architecture in the file names {name!r}, which is no layer or network of torch.nn or"
                " dynamic_network_architectures; nothing was imported or run",
                where=source.file,
                mend="use a file whose origin you trust, with a network that nnU-Net's planners write",
            )
