"""nnU-Net v1 models become v2 networks that return the same; what has no equal is refused by name.

What v1's own networks return is in `fixtures`, computed by `make_nnunet_v1_fixtures`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.interop.nnunet_v1 import convert, is_nnunet_v1
from tests.interop.make_nnunet_v1_fixtures import (
    NETWORKS,
    OUTPUTS,
    STATE_DICTS,
    channel_statistics,
    seeded_input,
    seeded_state_dict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nnunet_genesis.interop.source import SourceModel

FILE = Path("model_final_checkpoint.model")
SHAPES: dict[str, dict[str, list[int]]] = json.loads(STATE_DICTS.read_text())
SMALL = "anisotropic"


def model(network: str = SMALL, prefix: str = "") -> dict[str, Any]:
    """What a v1 file holds: weights, and much else."""
    tensors = {prefix + name: tensor for name, tensor in seeded_state_dict(SHAPES[network]).items()}
    return {
        "epoch": 1000,
        "state_dict": tensors,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": np.float64(0.01), "params": [0, 1]}]},
        "lr_scheduler_state_dict": None,
        "plot_stuff": ([0.1], [0.2], [], [np.float64(0.8)]),
        "best_stuff": (None, None, None),
    }


def build(architecture: Mapping[str, Any], channels: int, classes: int) -> torch.nn.Module:
    """The network that nnU-Net v2 builds from such plans, with deep supervision."""
    network: torch.nn.Module = get_network_from_plans(
        architecture["network_class_name"],
        dict(architecture["arch_kwargs"]),
        architecture["_kw_requires_import"],
        channels,
        classes,
        allow_init=False,
        deep_supervision=True,
    )
    return network.eval()


def load(source: SourceModel, classes: int) -> torch.nn.Module:
    """The described network with the converted weights; all of them fit, and none but aliases are missing."""
    assert source.architecture is not None
    network = build(source.architecture, source.facts["num_input_channels"], classes)
    left = network.load_state_dict(source.weights, strict=False)
    assert left.unexpected_keys == []
    assert [key for key in left.missing_keys if ".all_modules." not in key and "decoder.encoder." not in key] == []
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_at_every_resolution_are_those_of_v1(name: str) -> None:
    """In double precision, so that rounding hides nothing."""
    network = load(convert(model(name), FILE), NETWORKS[name].classes).double()
    with torch.no_grad():
        outputs = network(seeded_input(name).double())
    assert len(outputs) == len(NETWORKS[name].strides)
    with np.load(OUTPUTS) as expected:
        for level, output in enumerate(outputs):
            key = f"{name}/{level}"
            assert tuple(output.shape) == tuple(expected[f"{key}/shape"])
            values = output.flatten()[torch.from_numpy(expected[f"{key}/positions"])].numpy()
            np.testing.assert_allclose(values, expected[f"{key}/values"], rtol=0, atol=1e-9)
            statistics = channel_statistics(output).numpy()
            np.testing.assert_allclose(statistics, expected[f"{key}/statistics"], rtol=0, atol=1e-9)


def test_architecture_of_the_authors_file_is_that_of_its_script() -> None:
    source = convert(model("luna16"), FILE)
    assert source.kind == "nnU-Net v1 model"
    assert source.architecture is not None
    described = source.architecture["arch_kwargs"]
    assert described["features_per_stage"] == [32, 64, 128, 256, 320, 320]
    assert described["kernel_sizes"] == [[3, 3, 3]] * 6
    assert described["strides"] == [[1, 1, 1], *[[2, 2, 2]] * 4, [1, 2, 2]]
    assert described["n_conv_per_stage"] == [2] * 6
    assert described["n_conv_per_stage_decoder"] == [2] * 5
    assert source.facts["num_input_channels"] == 1
    assert "taken for images" not in " ".join(source.facts["notes"])
    assert source.facts["epochs"] == 1000


def test_convs_per_stage_and_dimensions_are_read() -> None:
    """Where v1 was told one convolution per stage, it built two in the lowest stage and in the decoder."""
    single = convert(model("thin_bottom"), FILE)
    source = convert(model("2d"), FILE)
    assert single.architecture is not None
    assert source.architecture is not None
    described = single.architecture["arch_kwargs"]
    assert described["n_conv_per_stage"] == [1, 1, 2]
    assert described["n_conv_per_stage_decoder"] == [2, 2]
    described = source.architecture["arch_kwargs"]
    assert described["n_conv_per_stage"] == [3] * 4
    assert described["n_conv_per_stage_decoder"] == [3] * 3
    assert described["conv_op"] == "torch.nn.modules.conv.Conv2d"
    assert source.facts["num_input_channels"] == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("conv_blocks_context.0.blocks.1", "encoder.stages.0.0.convs.1"),
        ("conv_blocks_context.3.0.blocks.1", "encoder.stages.3.0.convs.1"),
        ("conv_blocks_context.3.1.blocks.0", "encoder.stages.3.0.convs.2"),
        ("conv_blocks_localization.0.0.blocks.0", "decoder.stages.0.convs.0"),
        ("conv_blocks_localization.2.1.blocks.0", "decoder.stages.2.convs.2"),
    ],
)
def test_every_number_of_a_block_is_carried(old: str, new: str) -> None:
    """Outputs cannot show it: a bias before an instance norm has no effect on them."""
    content = model("2d")
    weights = convert(content, FILE).weights
    for mine, theirs in {"conv.weight": "", "conv.bias": "", "norm.weight": "inst", "norm.bias": "inst"}.items():
        assert torch.equal(weights[f"{new}.{mine}"], content["state_dict"][f"{old}.{theirs}{mine}"])


def test_bias_of_segmentation_layers_is_kept_and_zero_where_there_was_none() -> None:
    content = model("2d")
    kept = convert(content, FILE).weights
    zero = convert(model(SMALL), FILE).weights
    assert torch.equal(kept["decoder.seg_layers.1.bias"], content["state_dict"]["seg_outputs.1.bias"])
    assert torch.equal(zero["decoder.seg_layers.1.bias"], torch.zeros(4))
    assert torch.equal(zero["decoder.transpconvs.0.bias"], torch.zeros(24))


def test_kernels_of_encoder_and_decoder_meet_in_the_longer_one_with_zeros_around() -> None:
    """v1's decoder beside stage 1 (1x3x3) has the kernel of stage 2 (3x3x3)."""
    content = model(SMALL)
    source = convert(content, FILE)
    assert source.architecture is not None
    assert source.architecture["arch_kwargs"]["kernel_sizes"] == [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    weight = source.weights["encoder.stages.1.0.convs.0.conv.weight"]
    assert torch.equal(weight[:, :, 1:2], content["state_dict"]["conv_blocks_context.1.blocks.0.conv.weight"])
    assert not weight[:, :, [0, 2]].any()
    assert "encoder kernels beside stage 1: 1x3x3 to 3x3x3 with zeros, the same function" in source.facts["notes"]
    assert not any("kernels" in note for note in convert(model("2d"), FILE).facts["notes"])


def test_notes_tell_what_the_file_does_not() -> None:
    notes = " ".join(convert(model(), FILE).facts["notes"])
    assert "the file does not tell normalisation, nonlinearity and pooling" in notes
    assert "are zeros" in notes
    channels = convert(model(), FILE).facts["num_input_channels"]
    assert channels > 1
    assert f"all {channels} input channels are taken for images" in notes


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_change_nothing(prefix: str) -> None:
    plain, wrapped = convert(model(), FILE).weights, convert(model(prefix=prefix), FILE).weights
    assert plain.keys() == wrapped.keys()
    assert all(torch.equal(plain[name], wrapped[name]) for name in plain)


def test_recognised_by_content() -> None:
    assert is_nnunet_v1(model())
    assert is_nnunet_v1(model(prefix="module."))
    assert is_nnunet_v1(model()["state_dict"])


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"state_dict": None},
        {"state_dict": {}},
        {"state_dict": {"encoder.stages.0.0.convs.0.conv.weight": torch.ones(2)}},
        {"network_weights": {"conv_blocks_context.0.blocks.0.conv.weight": torch.ones(2)}},
        {"state_dict": {"conv_blocks_context.0.blocks.0.conv.weight": torch.ones(2)}},
        {"state_dict": {"conv_blocks_contexts.0": torch.ones(2), "conv_blocks_localizations.0": torch.ones(2)}},
    ],
)
def test_others_are_not_taken_for_it(content: dict[str, Any]) -> None:
    assert not is_nnunet_v1(content)


def without(part: str) -> Callable[[dict[str, Any]], None]:
    """Leave out all tensors whose name starts so."""

    def edit(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith(part)]:
            del tensors[name]

    return edit


def with_tensor(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Set one entry."""

    def edit(tensors: dict[str, Any]) -> None:
        tensors[name] = value

    return edit


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    """Change the start of names."""

    def edit(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith(old)]:
            tensors[name.replace(old, new)] = tensors.pop(name)

    return edit


FIRST = "conv_blocks_context.0.blocks.0"
REFUSED = {
    "interpolation": (without("tu."), r"no transposed convolutions \(tu\.\*\)"),
    "one transposed": (without("tu.1."), "tu.1.weight is missing"),
    "a bias": (without(f"{FIRST}.conv.bias"), rf"missing: {FIRST}.conv.bias\)"),
    "many": (without("conv_blocks_context.1.blocks.1."), "missing: .*instnorm.bias and 1 more"),
    "heads": (without("seg_outputs."), "seg_outputs.0.weight is missing"),
    "one head": (without("seg_outputs.2."), "missing: seg_outputs.2.weight"),
    "encoder stage": (without("conv_blocks_context.1."), "3 encoder stages and 3 decoder stages do not make a U-Net"),
    "first block": (without(f"{FIRST}."), f"{FIRST}.conv.weight is missing"),
    "first blocks": (
        renamed("conv_blocks_context.0.blocks.", "conv_blocks_context.0.b."),
        f"{FIRST}.conv.weight is missing",
    ),
    "gap": (
        renamed("conv_blocks_context.2.", "conv_blocks_context.7."),
        "conv_blocks_context.2.blocks.0.conv.weight is missing",
    ),
    "batch norm": (with_tensor(f"{FIRST}.instnorm.running_mean", torch.ones(8)), "batch normalisation"),
    "unknown": (with_tensor("conv_blocks_context.0.gate.weight", torch.ones(8)), "unknown: conv_blocks_context.0.gate"),
    "no tensor": (with_tensor("tu.0.weight", [1.0]), "tu.0.weight is no tensor but of type list"),
    "flat": (with_tensor(f"{FIRST}.conv.weight", torch.ones(8)), r"has the shape \(8,\), which is no convolution"),
    "mixed": (with_tensor("tu.0.weight", torch.ones(24, 24, 2, 2)), "mixes convolutions in 2D and 3D"),
    "long kernel": (with_tensor(f"{FIRST}.conv.weight", torch.ones(8, 2, 1, 5, 5)), "a kernel of length 5"),
    "width": (
        with_tensor("conv_blocks_localization.0.0.blocks.0.conv.weight", torch.ones(24, 40, 3, 3, 3)),
        r"has the shape \(24, 40, 3, 3, 3\), and by the tensors around it \(24, 48, 3, 3, 3\) is needed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_v2_cannot_compute_is_refused_with_the_reason(case: str) -> None:
    edit, reason = REFUSED[case]
    content = model()
    edit(content["state_dict"])
    assert is_nnunet_v1(content)
    with pytest.raises(CheckpointError, match=reason) as raised:
        convert(content, FILE)
    assert raised.value.where == FILE
    assert "genesis-pretrain-nnunet" in str(raised.value.mend)
