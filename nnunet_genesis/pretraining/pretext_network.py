"""The network of the plans together with the heads of a pretext."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import nn

from nnunet_genesis.bfloat16_on_cpu import right_gradients
from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.pretexts.base import NetworkOutputs
from nnunet_genesis.pretraining.seeds import Stream, initial_weights

if TYPE_CHECKING:
    import torch

    from nnunet_genesis.plans import PlannedConfiguration
    from nnunet_genesis.pretraining.pretexts.base import Pretext


class PretextNetwork(nn.Module):
    """Runs the network, and a pretext's heads on its deepest encoder stage.

    Args:
        network: Of the plans, with as many outputs as image channels; its weights alone are handed on.
        heads: What `Pretext.build_heads` made, or None.

    Raises:
        SetupError: If there are heads, and the network has no encoder and decoder of its own.
    """

    def __init__(self, network: nn.Module, heads: nn.Module | None) -> None:
        super().__init__()
        if heads is not None and not (hasattr(network, "encoder") and hasattr(network, "decoder")):
            raise SetupError(
                f"{type(network).__name__} has no encoder and decoder: a pretext with heads cannot be put on it",
                mend="--pretext models-genesis",
            )
        self.network, self.heads = network, heads

    def forward(self, patches: torch.Tensor, seen_by_heads: torch.Tensor | None = None) -> NetworkOutputs:
        """Restore patches, and say what the heads say.

        Args:
            patches: (batch, channels, *spatial).
            seen_by_heads: What the heads look at, of the same shape; the patches themselves by default.
        """
        with right_gradients(patches.device):
            if self.heads is None:
                return NetworkOutputs(self.network(patches), {})
            network = cast("Any", self.network)
            stages = network.encoder(patches)
            deepest = stages[-1] if seen_by_heads is None else network.encoder(seen_by_heads)[-1]
            return NetworkOutputs(network.decoder(stages), self.heads(deepest))


def build_pretext_network(planned: PlannedConfiguration, pretext: Pretext[Any], seed: int) -> PretextNetwork:
    """Build the network and the heads; the network's initial weights do not depend on the pretext.

    Raises:
        SetupError: If the pretext's heads cannot be put on the network.
    """
    with initial_weights(seed, Stream.INITIAL_WEIGHTS):
        network = planned.build_restoration_network()
    with initial_weights(seed, Stream.HEAD_WEIGHTS):
        heads = pretext.build_heads(planned)
    return PretextNetwork(network, heads)
