"""Encoder weights arrive unchanged, and the report tells the truth about them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunet_genesis.errors import TransferError
from nnunet_genesis.transfer import load_encoder_weights, unwrap

SOURCE = Path("checkpoint_final.pth")


def build(
    channels: int = 1, outputs: int = 3, features: tuple[int, ...] = (4, 8, 16), *, residual: bool = False
) -> nn.Module:
    stages = len(features)
    counts = {"n_blocks_per_stage" if residual else "n_conv_per_stage": [1] * stages}
    network: nn.Module = (ResidualEncoderUNet if residual else PlainConvUNet)(
        input_channels=channels,
        n_stages=stages,
        features_per_stage=features,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, *[2] * (stages - 1)],
        num_classes=outputs,
        n_conv_per_stage_decoder=[1] * (stages - 1),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=True,
        **counts,
    )
    return network


def encoder(network: nn.Module) -> nn.Module:
    return network.get_submodule("encoder")


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("residual", [False, True])
def test_encoder_computes_what_the_source_encoder_computes_and_the_rest_is_untouched(residual: bool) -> None:
    source, target = build(outputs=1, residual=residual), build(outputs=3, residual=residual)
    before = snapshot(target)
    report = load_encoder_weights(target, source.state_dict(), source=SOURCE)
    image = torch.rand(1, 1, 16, 16, 16)
    for ours, theirs in zip(encoder(target)(image), encoder(source)(image), strict=True):
        assert torch.equal(ours, theirs)
    for name, tensor in target.state_dict().items():
        if not name.startswith(("encoder.", "decoder.encoder.")):
            assert torch.equal(tensor, before[name]), name
    assert report.encoder_share == 1
    assert len(report.loaded) == len(list(encoder(target).parameters()))


def test_report_counts_every_parameter_once() -> None:
    source, target = build(), build()
    report = load_encoder_weights(target, source.state_dict(), source=SOURCE)
    total = sum(parameter.numel() for parameter in target.parameters())
    in_encoder = sum(parameter.numel() for parameter in encoder(target).parameters())
    assert sum(report.num_parameters.values()) == total
    assert report.num_parameters["loaded"] == in_encoder
    assert report.network_share == pytest.approx(in_encoder / total)
    assert "100 % of the encoder" in report.summary_lines()[0]
    assert report.as_dict()["tensors_loaded"] == len(report.loaded)


@pytest.mark.parametrize(
    "source",
    [build(residual=True), build(features=(4, 8, 32)), build(features=(6, 12, 24))],
    ids=["residual", "last stage wider", "all stages wider"],
)
def test_too_small_a_fit_is_an_error_that_changes_nothing(source: nn.Module) -> None:
    target = build()
    before = snapshot(target)
    with pytest.raises(TransferError, match=r"% of the encoder of this PlainConvUNet fits the file"):
        load_encoder_weights(target, source.state_dict(), source=SOURCE)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_loading_nothing_is_an_error_even_without_a_minimum() -> None:
    with pytest.raises(TransferError, match="only 0 % of the encoder"):
        load_encoder_weights(build(), {}, source=SOURCE, minimum_share=0)
    with pytest.raises(TransferError, match="Linear has no encoder"):
        load_encoder_weights(nn.Linear(2, 2), {}, source=SOURCE, minimum_share=0)


def test_mismatched_stem_is_reported_by_name_and_shapes() -> None:
    source, target = build(channels=4), build(channels=1)
    report = load_encoder_weights(target, source.state_dict(), source=SOURCE, minimum_share=0.5)
    assert list(report.unmatched.values()) == ["shape (4, 4, 3, 3, 3) in the file, (4, 1, 3, 3, 3) in the network"]
    assert any(line.startswith("not loaded: encoder.stages.0.0.convs.0.conv.weight") for line in report.summary_lines())


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    weights = build().state_dict()
    weights["encoder.stages.1.0.convs.0.norm.weight"][3] = float("nan")
    with pytest.raises(TransferError, match=r"encoder\.stages\.1\.0\.convs\.0\.norm\.weight holds NaN"):
        load_encoder_weights(build(), weights, source=SOURCE)


def test_unwrap_finds_the_network_under_compile() -> None:
    network = build()
    assert unwrap(network) is network
    compiled = torch.compile(network)
    assert isinstance(compiled, nn.Module)
    assert unwrap(compiled) is network
