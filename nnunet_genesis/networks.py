"""Networks from the ``architecture`` entry of nnU-Net's plans."""

from __future__ import annotations

import pydoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_genesis.errors import CheckpointError, SetupError
from nnunet_genesis.memory import memory_of_machine
from nnunet_genesis.transfer.names import ENCODER_PREFIX, first_convolutions, num_stages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from nnunet_genesis.interop.source import SourceModel

_TRUSTED_PACKAGES = ("torch.nn.", "dynamic_network_architectures.")
"""Where the classes that a file of weights names may come from; all that nnU-Net's planners write is in here."""
_NETWORKS = "dynamic_network_architectures.architectures."
_MEND_AS_WRITTEN = "use the file as it was written"
_MOST_STAGES, _MOST_BLOCKS = 64, 1000
"""Far more than any network has: beyond, building its layers alone would take minutes."""


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


def build_planned_network(
    architecture: Mapping[str, Any], input_channels: int, num_outputs: int, where: Path
) -> nn.Module:
    """Build the network of the user's own plans, as `build_network` does.

    Args:
        architecture: The entry of the plans.
        input_channels: Channels of the input.
        num_outputs: Channels of the output.
        where: The plans file.

    Raises:
        SetupError: If the entry describes no network, or one whose weights are larger than this machine's memory.
    """
    import torch

    try:
        _check_lengths(architecture["arch_kwargs"])
        found = pydoc.locate(architecture["network_class_name"])  # None where nnU-Net searches for the class
        if found is not None and not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
            raise TypeError(f"{architecture['network_class_name']!r} is no network")
        needed = _bytes_of_weights(architecture, input_channels, num_outputs)
        if needed > memory_of_machine():
            raise ValueError(f"its weights take {needed:,} bytes, the machine has {memory_of_machine():,}")
        return build_network(architecture, input_channels, num_outputs)
    except Exception as error:  # the classes check their arguments with whatever comes to hand
        raise SetupError(
            f"the network of the plans cannot be built: {type(error).__name__}: {str(error)[:300]}",
            where=where,
            mend="correct the entry 'architecture', or plan again with nnUNetv2_plan_experiment",
        ) from error


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
            mend="use a file that genesis-pretrain-nnunet or nnUNetv2_train (nnU-Net 2.4 or later) wrote; files"
            " that do not tell it serve nnUNetTrainerGenesis alone, which knows the network of the plans",
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


def num_inputs(source: SourceModel) -> int:
    """Inputs of the network whose weights a file holds: those of its first convolution, else the images it tells of."""
    first = first_convolutions(source.weights)
    return int(source.weights[min(first)].shape[1]) if first else _told_channels(source) or 1


def num_image_channels(source: SourceModel) -> int:
    """Inputs that are images: in the second stage of a cascade, the labels of the first one come after them."""
    inputs = num_inputs(source)
    return min(inputs, _told_channels(source) or inputs)


def _told_channels(source: SourceModel) -> int | None:
    told = source.facts.get("num_input_channels")
    return told if isinstance(told, int) and told > 0 else None


def _check_size(source: SourceModel, input_channels: int, num_outputs: int) -> None:
    """Refuse a network that is much larger than its weights, before it takes memory."""
    import torch

    architecture: Mapping[str, Any] = source.architecture or {}
    stages, held_stages = architecture["arch_kwargs"]["n_stages"], num_stages(source.weights)
    sizes = []
    _check_lengths(architecture["arch_kwargs"])
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
            mend=_MEND_AS_WRITTEN,
        )


def _bytes_of_weights(architecture: Mapping[str, Any], input_channels: int, num_outputs: int) -> int:
    """What a network's weights take, without taking it; 0 where a network of the user's own cannot tell."""
    import torch

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = build_network(architecture, input_channels, num_outputs)
    except Exception:  # what is wrong with it, building it will say
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())


def _check_lengths(arguments: Mapping[str, Any]) -> None:
    """Refuse numbers of layers that nobody means.

    Raises:
        ValueError: With the number.
    """
    for name, value in arguments.items():
        most = _MOST_STAGES if name == "n_stages" else _MOST_BLOCKS if name.startswith(("n_blocks", "n_conv")) else None
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if most is not None and not all(isinstance(number, int) and 0 < number <= most for number in numbers):
            raise ValueError(f"{name} {str(value)[:100]} (at most {most})")


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
        raise CheckpointError(
            f"the architecture in the file is incomplete ({error!r})", where=source.file, mend=_MEND_AS_WRITTEN
        ) from error
    for name in names:
        found = _locate(name) if isinstance(name, str) and name.startswith(_TRUSTED_PACKAGES) else None
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise CheckpointError(
                f"the architecture in the file names {name!r}, which is no layer or network of torch.nn or"
                " dynamic_network_architectures; nothing was imported or run",
                where=source.file,
                mend="use a file whose origin you trust, with a network that nnU-Net's planners write",
            )


def _locate(name: str) -> object:
    """A class by its name; networks that were moved since, as plans before 2.4 name them, where nnU-Net finds them."""
    found = pydoc.locate(name)
    if found is not None or not name.startswith(_NETWORKS):
        return found
    import dynamic_network_architectures
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = Path(dynamic_network_architectures.__path__[0], "architectures")
    return recursive_find_python_class(str(folder), name.rsplit(".", 1)[-1], _NETWORKS.rstrip("."))
