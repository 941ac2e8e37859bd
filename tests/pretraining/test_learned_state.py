"""What steps change is put back only where it belongs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from nnunet_genesis.errors import SetupError
from nnunet_genesis.pretraining.learned_state import check_same_heads
from nnunet_genesis.pretraining.pretext_network import PretextNetwork

FILE = Path("output") / "checkpoint_latest.pth"


class OneStage(nn.Module):
    """What a pretext network needs of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv3d(1, 6, 3)
        self.decoder = nn.Conv3d(6, 1, 3)


def network(**sizes: int) -> PretextNetwork:
    return PretextNetwork(OneStage(), nn.ModuleDict({name: nn.Linear(6, size) for name, size in sizes.items()}))


def stored(*, of: PretextNetwork) -> dict[str, dict[str, torch.Tensor]]:
    return {"heads": {} if of.heads is None else of.heads.state_dict()}


def test_the_same_heads_go_on() -> None:
    check_same_heads(network(scale=3), stored(of=network(scale=3)), FILE)
    check_same_heads(PretextNetwork(OneStage(), None), stored(of=PretextNetwork(OneStage(), None)), FILE)


@pytest.mark.parametrize(
    ("here", "there", "message"),
    [
        (network(scale=3), network(scale=3, modality=2), "modality.bias is (2,) in the file, missing here"),
        (network(scale=3, modality=2), network(scale=3), "modality.bias is missing in the file, (2,) here"),
        (network(scale=3), network(scale=2), "scale.bias is (2,) in the file, (3,) here"),
        (PretextNetwork(OneStage(), None), network(scale=3), "scale.bias is (3,) in the file, missing here"),
    ],
)
def test_other_heads_are_named(here: PretextNetwork, there: PretextNetwork, message: str) -> None:
    with pytest.raises(SetupError, match=re.escape(message)) as refused:
        check_same_heads(here, stored(of=there), FILE)
    assert refused.value.where == FILE
    assert "--output" in str(refused.value)
