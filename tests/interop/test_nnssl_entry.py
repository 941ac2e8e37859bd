"""Our checkpoints through the eyes of nnssl's loaders: the entry that they look at describes the weights beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from nnunet_genesis.interop import open_source
from nnunet_genesis.networks import build_source_network
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.provenance import nnssl_adaptation_plan
from tests.preprocessed import DATASET, smooth_cases, write_dataset
from tests.transfer.networks import describe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("residual", [False, True])
def test_the_entry_leads_to_the_whole_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, residual: bool) -> None:
    """nnU-Net master takes the keys under the two prefixes and repeats the named first convolutions."""
    write_dataset(tmp_path, smooth_cases(2, (8, 16, 16)), (8, 16, 16), monkeypatch)
    planned = load_planned_configuration(DATASET)
    planned = type(planned)(**{**vars(planned), "architecture": describe(residual=residual)})
    network, plan = planned.build_restoration_network(), nnssl_adaptation_plan(planned)
    weights = network.state_dict()
    prefixes = (plan["key_to_encoder"], plan["key_to_stem"])
    in_encoder = {name for name in weights if name.startswith("encoder.")}
    assert {name for name in weights if name.startswith(prefixes)} == in_encoder
    for key in plan["keys_to_in_proj"]:
        assert weights[f"{key}.weight"].shape[1] == plan["pretrain_num_input_channels"] == 1
    assert plan["pretrain_plan"]["configurations"]["3d_fullres"]["patch_size"] == [8, 16, 16]
    torch.save({"network_weights": weights, "nnssl_adaptation_plan": plan}, tmp_path / "as_nnssl_sees_it.pth")
    source = open_source(tmp_path / "as_nnssl_sees_it.pth")
    assert source.kind == "nnssl pretraining"
    rebuilt = build_source_network(source, 1, 1)
    rebuilt.load_state_dict(source.weights, strict=False)
    for name, tensor in rebuilt.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
