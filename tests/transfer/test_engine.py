"""From network to network: the right tensors arrive, and the report tells the truth about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_genesis.errors import TransferError
from nnunet_genesis.transfer import load_weights, plan_transfer, unwrap
from tests.transfer.networks import build, encoder, snapshot, source_of


@pytest.mark.parametrize("residual", [False, True])
def test_encoder_computes_what_the_source_encoder_computes_and_the_rest_is_untouched(residual: bool) -> None:
    source, target = build(outputs=1, residual=residual), build(outputs=3, residual=residual, seed=1)
    before = snapshot(target)
    report = load_weights(target, source_of(source))
    image = torch.rand(1, 1, 16, 16, 16)
    for ours, theirs in zip(encoder(target)(image), encoder(source)(image), strict=True):
        assert torch.equal(ours, theirs)
    for name, tensor in target.state_dict().items():
        if not name.startswith(("encoder.", "decoder.encoder.")):
            assert torch.equal(tensor, before[name]), name
    assert report.encoder_share == 1
    assert len(report.loaded) == len(list(encoder(target).parameters()))
    assert report.dropped == []


def test_everything_but_the_heads() -> None:
    source, target = build(outputs=1), build(outputs=3, seed=1)
    before = snapshot(target)
    report = load_weights(target, source_of(source), part="full")
    changed = {name for name, tensor in target.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name for name in before if name not in changed} == {n for n in before if ".seg_layers." in n}
    assert report.left == [name for name, _ in target.named_parameters() if ".seg_layers." in name]
    assert report.decoder_share == 1, "heads are no part of what is asked for"
    heads = {name: tensor for name, tensor in source.state_dict().items() if ".seg_layers." in name}
    same_heads = build(outputs=1, seed=1)
    load_weights(same_heads, source_of(source), part="full")
    same_heads.load_state_dict(heads, strict=False)
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(same_heads(image), source(image))


def test_report_counts_every_parameter_once() -> None:
    source, target = build(), build(seed=1)
    report = load_weights(target, source_of(source))
    total = sum(parameter.numel() for parameter in target.parameters())
    in_encoder = sum(parameter.numel() for parameter in encoder(target).parameters())
    assert sum(report.num_parameters.values()) == total
    assert report.num_parameters["loaded"] == in_encoder
    assert report.network_share == pytest.approx(in_encoder / total)
    assert "100 % of the encoder" in report.summary_lines()[0]
    assert report.as_dict()["tensors_loaded"] == len(report.loaded)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("old", "new"), [(1, 4), (4, 1), (2, 4)])
def test_equal_channels_give_the_features_of_the_source(residual: bool, old: int, new: int) -> None:
    source, target = build(old, residual=residual), build(new, residual=residual, seed=1)
    report = load_weights(target, source_of(source))
    image = torch.rand(1, 1, 16, 16, 16)
    theirs = encoder(source)(image.expand(-1, old, -1, -1, -1))
    for ours, expected in zip(encoder(target)(image.expand(-1, new, -1, -1, -1)), theirs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert report.encoder_share == 1
    assert set(report.adapted.values()) == {f"input channels {old} to {new}"}
    for name, tensor in target.state_dict().items():
        if name.startswith("decoder.encoder."):
            assert torch.equal(tensor, target.state_dict()[name.removeprefix("decoder.")]), "all names show the edit"


def test_a_cascade_starts_as_the_network_of_the_images() -> None:
    source, target = build(1), build(4, seed=1)
    load_weights(target, source_of(source), image_channels=1)
    image, one_hot = torch.rand(1, 1, 16, 16, 16), torch.rand(1, 3, 16, 16, 16)
    for ours, theirs in zip(encoder(target)(torch.cat([image, one_hot], 1)), encoder(source)(image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_cascade_as_a_source_gives_its_images_and_nothing_else() -> None:
    """The file says how many of its channels are images: its other filters must not be mixed into them."""
    source, image, one_hot = build(3), torch.rand(1, 1, 16, 16, 16), torch.rand(1, 2, 16, 16, 16)
    cascade = replace(source_of(source), facts={"num_input_channels": 1})
    same, single = build(3, seed=1), build(1, seed=1)
    report = load_weights(same, cascade, image_channels=1)
    assert report.adapted == {}
    assert report.notes == [
        "2 channels of the previous stage are taken as they are in the file: right where its labels are this dataset's,"
        " in the same order"
    ]
    both = torch.cat([image, one_hot], 1)
    for ours, theirs in zip(encoder(same)(both), encoder(source)(both), strict=True):
        assert torch.equal(ours, theirs)
    report = load_weights(single, cascade)
    first = "encoder.stages.0.0.convs.0.conv.weight"
    assert report.adapted == {first: "2 channels of the previous stage in the file left out"}
    assert not report.notes
    assert not load_weights(build(4, seed=1), cascade, image_channels=1).notes, "other channels start at zero"
    assert torch.equal(single.state_dict()[first], source.state_dict()[first][:, :1])
    three_images = build(3, seed=1)
    load_weights(three_images, cascade)
    expected = (source.state_dict()[first][:, :1] / 3).expand(-1, 3, -1, -1, -1)
    assert torch.equal(three_images.state_dict()[first], expected)


def test_a_stem_and_a_first_block_are_not_the_same_layer() -> None:
    source, target = build(residual=True), build(residual=True, seed=1)
    without_stem = {n: t for n, t in source.state_dict().items() if "encoder.stem." not in n}
    with pytest.raises(TransferError, match="its first layer are needed"):
        load_weights(target, source_of(without_stem), minimum_share=0)


@pytest.mark.parametrize("residual", [False, True])
def test_layers_of_the_file_are_not_left_out_within_a_stage(residual: bool) -> None:
    source, target = build(residual=residual, blocks=(2, 2, 2)), build(residual=residual, seed=1)
    before = snapshot(target)
    with pytest.raises(TransferError, match=r"convolutions .* has none \(the first is encoder\.stages\.0\."):
        load_weights(target, source_of(source))
    assert all(torch.equal(tensor, before[name]) for name, tensor in snapshot(target).items())
    assert load_weights(target, source_of(source), minimum_share=0).skipped, "whoever asks for no share takes it"
    report = load_weights(target, source_of(source), allow_partial=True)
    assert report.encoder_share == 1
    assert report.skipped == [name for name in report.dropped if name.endswith("conv.weight")] != []
    assert report.summary_lines()[-1].startswith("in the file but not in the network: encoder.stages.0.")


def test_biases_without_a_place_are_told_and_no_reason_to_refuse() -> None:
    """Plans may switch them off: before an instance normalisation they change nothing."""
    source, target = build(), build(seed=1, conv_bias=False)
    report = load_weights(target, source_of(source))
    assert (report.encoder_share, report.skipped) == (1, [])
    assert [name.endswith("conv.bias") for name in report.dropped] == [True] * 3
    image = torch.rand(1, 1, 16, 16, 16)
    for ours, theirs in zip(encoder(target)(image), encoder(source)(image), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_running_statistics_without_a_place_are_told() -> None:
    report = load_weights(build(), source_of(build(norm="batchnorm.BatchNorm")))
    assert report.skipped == []
    assert "note: the file normalises by running statistics" in "\n".join(report.summary_lines())


def test_a_shallower_network_takes_the_first_stages_and_the_decoder_of_the_same_resolution() -> None:
    source, target = build(features=(4, 8, 16, 32)), build(features=(4, 8, 16), seed=1)
    report = load_weights(target, source_of(source), part="full")
    image = torch.rand(1, 1, 16, 16, 16)
    for ours, theirs in zip(encoder(target)(image), encoder(source)(image), strict=False):
        assert torch.equal(ours, theirs)
    assert report.unmatched == {}
    assert any(name.startswith("encoder.stages.3.") for name in report.dropped)
    finest = "stages.1.convs.0.conv.weight"
    assert torch.equal(
        target.get_submodule("decoder").state_dict()[finest],
        source.get_submodule("decoder").state_dict()[finest.replace("stages.1", "stages.2")],
    )


def test_a_deeper_network_keeps_its_own_initialisation_where_the_file_has_nothing() -> None:
    source, target = build(features=(4, 8, 16)), build(features=(4, 8, 16, 32), seed=1)
    before = snapshot(target)
    with pytest.raises(TransferError, match=r"only 24\.\d+ % of the encoder of this PlainConvUNet fits the file"):
        load_weights(target, source_of(source))
    report = load_weights(target, source_of(source), minimum_share=0.2)
    assert all(name.startswith("encoder.stages.3.") for name in report.unmatched)
    assert set(report.unmatched.values()) == {"the file has no tensor for it"}
    for name, tensor in target.state_dict().items():
        kept = not name.startswith("encoder.") or name.startswith("encoder.stages.3.")
        if not name.startswith("decoder.encoder."):
            assert torch.equal(tensor, before[name]) == kept, name


def test_kernels_of_another_size_and_strides_that_differ_are_told() -> None:
    anisotropic: dict[str, Any] = {
        "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    }
    source, target = build(), build(seed=1, **anisotropic)
    described = {"arch_kwargs": {"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]}}
    report = load_weights(
        target, source_of(source, described), architecture={"arch_kwargs": {"strides": anisotropic["strides"]}}
    )
    assert report.encoder_share == 1
    assert report.adapted == {"encoder.stages.0.0.convs.0.conv.weight": "kernel 3x3x3 to 1x3x3"}
    assert report.notes == ["stage 1: stride [1, 2, 2] in the network, [2, 2, 2] where the weights were trained"]
    said = "\n".join(report.summary_lines())
    assert "adapted: encoder.stages.0.0.convs.0.conv.weight: kernel 3x3x3 to 1x3x3" in said
    assert "note: stage 1" in said


@pytest.mark.parametrize(("old", "new"), [(2, 3), (3, 2)])
def test_slices_and_volumes(old: int, new: int) -> None:
    source, target = build(dim=old), build(dim=new, seed=1)
    report = load_weights(target, source_of(source))
    assert report.encoder_share == 1
    convolutions = [name for name in target.state_dict() if name in report.adapted]
    assert len(convolutions) == 3
    assert all(rule.startswith(f"{old}D to {new}D") for rule in report.adapted.values())


@pytest.mark.parametrize("residual", [False, True])
def test_encoders_of_the_other_family_are_refused_with_the_plans_that_would_fit(residual: bool) -> None:
    source, target = build(residual=residual), build(residual=not residual)
    held, wanted = ("residual", "plain") if residual else ("plain", "residual")
    plans = "nnUNetResEncUNetLPlans" if residual else "-p nnUNetPlans"
    with pytest.raises(
        TransferError, match=f"holds a {held} encoder of 3 stages, and the network .* has a {wanted} one"
    ) as error:
        load_weights(target, source_of(source), allow_partial=True)
    assert plans in str(error.value)


@pytest.mark.parametrize("features", [(4, 8, 32), (6, 12, 24)], ids=["last stage wider", "all stages wider"])
def test_too_small_a_fit_is_an_error_that_changes_nothing_unless_allowed(features: tuple[int, ...]) -> None:
    source, target = build(features=features), build(seed=1)
    before = snapshot(target)
    with pytest.raises(TransferError, match=r"% of the encoder of this PlainConvUNet fits the file") as error:
        load_weights(target, source_of(source))
    assert "another width" in str(error.value)
    assert "nnUNet_genesis_allow_partial=1" in str(error.value)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name])
    report = load_weights(target, source_of(source), allow_partial=True)
    assert any("leading" in rule for rule in report.adapted.values())
    assert sum(report.num_parameters.values()) == sum(parameter.numel() for parameter in target.parameters())
    assert (report.encoder_share < 1) == (features[0] < 4 or features[2] < 16)
    stem = "encoder.stages.0.0.convs.0.conv.weight"
    assert torch.equal(target.state_dict()[stem], source.state_dict()[stem][:4])


def test_loading_nothing_is_an_error_whatever_is_allowed() -> None:
    with pytest.raises(TransferError, match="holds no encoder of nnU-Net's U-Nets"):
        load_weights(build(), source_of({}), minimum_share=0, allow_partial=True)
    with pytest.raises(TransferError, match="Linear has no encoder"):
        load_weights(nn.Linear(2, 2), source_of(build()), minimum_share=0, allow_partial=True)
    other = {name: tensor[..., :2] for name, tensor in build().state_dict().items() if tensor.ndim == 5}
    with pytest.raises(TransferError, match="only 0 % of the encoder"):
        load_weights(build(), source_of(other), minimum_share=0, allow_partial=True)


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    weights = build().state_dict()
    weights["encoder.stages.1.0.convs.0.norm.weight"][3] = float("nan")
    with pytest.raises(TransferError, match=r"encoder\.stages\.1\.0\.convs\.0\.norm\.weight holds NaN"):
        load_weights(build(), source_of(weights))


def test_a_plan_changes_nothing() -> None:
    source, target = build(4), build(1, seed=1)
    before = snapshot(target)
    values, report = plan_transfer(target, source_of(source))
    assert len(values) == len(report.loaded) + len(report.adapted)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_what_stays_random_is_not_counted_as_filled() -> None:
    report = load_weights(build(features=(16, 32, 64), seed=1), source_of(build()), allow_partial=True)
    assert report.encoder_share < 0.1
    assert all("the rest stays random" in rule for rule in report.adapted.values())


def test_unwrap_finds_the_network_under_compile() -> None:
    network = build()
    assert unwrap(network) is network
    compiled = torch.compile(network)
    assert isinstance(compiled, nn.Module)
    assert unwrap(compiled) is network


def test_leading_channels_are_taken_in_the_encoder_alone() -> None:
    """A convolution of the decoder sees the upsampled channels, then the skipped ones: leading ones mix them up."""
    source, target = build(features=(4, 12, 16)), build(seed=1)
    before = snapshot(target)
    report = load_weights(target, source_of(source), part="full", allow_partial=True)
    assert "leading" in report.adapted["encoder.stages.1.0.convs.0.conv.weight"]
    assert not [name for name in report.adapted if name.startswith("decoder.")]
    for name in ("decoder.stages.0.convs.0.conv.weight", "decoder.transpconvs.0.weight"):
        assert "another width" in report.unmatched[name]
        assert torch.equal(target.state_dict()[name], before[name])


def test_a_decoder_that_the_file_has_not_is_missed_whatever_is_allowed() -> None:
    target = build(seed=1)
    alone = {name: tensor for name, tensor in build().state_dict().items() if name.startswith("encoder.")}
    with pytest.raises(TransferError, match=r"the decoder was to be loaded, too .* fills 0 % of it"):
        load_weights(target, source_of(alone), part="full", allow_partial=True, minimum_share=0)


def test_transposed_convolutions_of_slices_are_not_repeated_into_volumes() -> None:
    source, target = build(dim=2), build(dim=3, seed=1)
    before = snapshot(target)
    report = load_weights(target, source_of(source), part="full", minimum_share=0.1)
    for number in range(2):
        name = f"decoder.transpconvs.{number}.weight"
        assert report.unmatched[name].startswith("shape (")
        assert torch.equal(target.state_dict()[name], before[name])


def test_strides_may_be_one_number_for_all_axes() -> None:
    ours, theirs = {"arch_kwargs": {"strides": [1, 2, 2]}}, {"arch_kwargs": {"strides": [1, 2, 1]}}
    assert plan_transfer(build(), source_of(build(), ours), architecture=ours)[1].notes == []
    (note,) = plan_transfer(build(), source_of(build(), theirs), architecture=ours)[1].notes
    assert note.startswith("stage 2: stride ")
    by_axis = {"arch_kwargs": {"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]}}
    assert plan_transfer(build(), source_of(build(), by_axis), architecture=ours)[1].notes == []
    assert len(plan_transfer(build(), source_of(build(), by_axis), architecture=theirs)[1].notes) == 1
