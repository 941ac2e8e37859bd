"""Formats are recognised by what a file holds, and give the weights that a network of nnU-Net loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.interop import open_source
from nnunet_genesis.networks import build_network
from nnunet_genesis.weights_digest import weights_digest
from tests.interop.files import (
    PLAIN,
    RESIDUAL,
    adaptation_plan,
    nnunet_v2_content,
    plain_weights,
    residual_weights,
    without_aliases,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A name that tells nothing, as no reader looks at it."""
    return tmp_path / "weights.bin"


def assert_equal(read: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(read[name], tensor), name


def genesis_content(weights: dict[str, torch.Tensor], **entries: Any) -> dict[str, Any]:
    told = {"format_version": checkpoint.FORMAT_VERSION, "pretext": "masked", "num_channels": 1, "epochs": 3}
    return {"network_weights": weights, "genesis": {**told, "architecture": PLAIN, **entries}}


def test_ours(file: Path) -> None:
    weights = plain_weights()
    content = genesis_content(weights, dataset="Dataset004_Hippocampus", weights_sha256=weights_digest(weights))
    checkpoint.write(file, content | {"nnssl_adaptation_plan": adaptation_plan(), "training_state": {"epoch": 3}})
    source = open_source(file)
    assert source.kind == "nnunet-genesis pretraining"
    assert source.file == file
    assert_equal(source.weights, without_aliases(weights))
    assert source.architecture == PLAIN
    assert source.facts == {
        "dataset": "Dataset004_Hippocampus",
        "num_input_channels": 1,
        "method": "masked",
        "epochs": 3,
    }


def test_flipped_bytes_in_ours_are_found_by_the_checksum(file: Path) -> None:
    weights = plain_weights()
    name, mark = "encoder.stages.0.0.convs.0.norm.weight", torch.tensor([1.25, 1.5, 1.75, 2.0])
    weights[name] = weights[name.replace("norm", "all_modules.1")] = mark
    weights["decoder." + name] = weights["decoder." + name.replace("norm", "all_modules.1")] = mark
    checkpoint.write(file, genesis_content(weights, weights_sha256=weights_digest(weights)))
    raw, old = file.read_bytes(), mark.numpy().tobytes()
    assert raw.count(old) == 1
    open_source(file)
    file.write_bytes(raw.replace(old, bytes([old[0] ^ 1]) + old[1:]))
    with pytest.raises(CheckpointError, match=r"not those that were written: their checksum differs"):
        open_source(file)


def test_ours_of_a_newer_version_and_without_checksum(file: Path) -> None:
    checkpoint.write(file, genesis_content(plain_weights()))
    assert len(open_source(file).weights) == len(without_aliases(plain_weights()))
    checkpoint.write(file, genesis_content(plain_weights(), format_version=99))
    with pytest.raises(CheckpointError, match=r"format version 99 is unknown[\s\S]*update nnunet-genesis"):
        open_source(file)


@pytest.mark.parametrize(("configuration", "patch"), [("3d_fullres", [40, 56, 40]), ("3d_small", [16, 16, 16])])
def test_nnunet_v2(file: Path, configuration: str, patch: list[int]) -> None:
    content = nnunet_v2_content()
    content["init_args"]["configuration"] = configuration
    torch.save(content, file)
    source = open_source(file)
    assert source.kind == "nnU-Net v2 model"
    assert source.facts == {
        "dataset": "Dataset004_Hippocampus",
        "plans": "nnUNetPlans",
        "configuration": configuration,
        "patch_size": patch,
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "channel_names": ["MRI"],
        "num_input_channels": 1,
        "trainer": "nnUNetTrainer",
        "epochs": 7,
        "citations": ["Isensee et al., nnU-Net, Nature Methods 18, 2021"],
    }
    assert source.architecture is not None
    network = build_network(source.architecture, 1, 3)
    missing = network.load_state_dict(dict(source.weights), strict=False).missing_keys
    assert without_aliases(dict.fromkeys(missing, torch.ones(1))) == {}


@pytest.mark.parametrize("kind", ["per_channel", "by_modality"])
def test_what_ct_is_clipped_and_scaled_by_is_read_from_the_plans(file: Path, kind: str) -> None:
    content = nnunet_v2_content()
    statistics = {"mean": np.float64(99.5), "std": 37.1, "percentile_00_5": -18.0, "percentile_99_5": 204.0}
    content["init_args"]["plans"][f"foreground_intensity_properties_{kind}"] = {
        "1": {**statistics, "std": 1.0},
        "0": statistics,
    }
    torch.save(content, file)
    assert open_source(file).facts["foreground_intensities"] == [statistics, {**statistics, "std": 1.0}]


def test_channels_of_nnunet_v2_are_in_the_order_of_their_numbers(file: Path) -> None:
    content = nnunet_v2_content()
    content["init_args"]["dataset_json"]["channel_names"] = {str(number): f"echo {number}" for number in range(12)}
    torch.save(content, file)
    assert open_source(file).facts["channel_names"] == [f"echo {number}" for number in range(12)]


def test_nnunet_v2_with_plans_that_do_not_tell(file: Path) -> None:
    content = nnunet_v2_content()
    configurations = content["init_args"]["plans"]["configurations"]
    del configurations["3d_fullres"]["architecture"]
    torch.save(content, file)
    source = open_source(file)
    assert source.architecture is None
    assert "no architecture" in source.facts["notes"][0]
    configurations["3d_fullres"]["inherits_from"] = "3d_small"
    torch.save(content, file)
    with pytest.raises(CheckpointError, match="circle: 3d_fullres -> 3d_small -> 3d_fullres"):
        open_source(file)


def test_nnssl_residual(file: Path) -> None:
    weights = residual_weights()
    plan = adaptation_plan(arch_kwargs=RESIDUAL["arch_kwargs"])
    torch.save(nnunet_v2_content(weights) | {"nnssl_adaptation_plan": plan, "trainer_name": "BaseMAETrainer"}, file)
    source = open_source(file)
    assert source.kind == "nnssl pretraining"
    assert_equal(source.weights, without_aliases(weights))
    assert source.architecture == RESIDUAL
    assert source.facts["method"] == "BaseMAETrainer"
    assert "trainer" not in source.facts, "that is one of segmentations"
    assert source.facts["dataset"] == "Dataset745_OpenMind"
    assert source.facts["patch_size"] == [160, 160, 160]
    assert source.facts["num_input_channels"] == 1


def test_nnssl_plain_with_the_stem_inside_and_the_other_familys_argument(file: Path) -> None:
    kwargs = dict(PLAIN["arch_kwargs"])
    kwargs["n_blocks_per_stage"] = kwargs.pop("n_conv_per_stage")
    plan = adaptation_plan("PlainConvUNet", kwargs, key_to_stem="encoder.stages.0")
    torch.save({"network_weights": plain_weights(), "nnssl_adaptation_plan": plan}, file)
    source = open_source(file)
    assert_equal(source.weights, without_aliases(plain_weights()))
    assert source.architecture == PLAIN


def test_nnssl_arguments_that_are_not_told_are_not_imported(file: Path) -> None:
    kwargs = {key: value for key, value in RESIDUAL["arch_kwargs"].items() if not key.startswith("dropout")}
    torch.save(
        {"network_weights": residual_weights(), "nnssl_adaptation_plan": adaptation_plan(arch_kwargs=kwargs)}, file
    )
    architecture = open_source(file).architecture
    assert architecture is not None
    assert architecture["_kw_requires_import"] == ["conv_op", "norm_op", "nonlin"]
    build_network(architecture, 1, 3).load_state_dict(residual_weights())


def encoder_of(weights: dict[str, torch.Tensor], rename: dict[str, str]) -> dict[str, torch.Tensor]:
    return {
        next((new + name[len(old) :] for old, new in rename.items() if name.startswith(old)), name): tensor
        for name, tensor in weights.items()
        if name.startswith("encoder.")
    }


@pytest.mark.parametrize(
    ("rename", "keys"),
    [
        ({"encoder.": ""}, {"key_to_encoder": "stages", "key_to_stem": "stem"}),
        ({"encoder.": ""}, {}),
        ({"encoder.": "online_encoder."}, {"key_to_encoder": "online_encoder.stages", "key_to_stem": "x"}),
        ({"encoder.": "net.encoder."}, {"key_to_encoder": "net.encoder", "key_to_stem": "net.encoder.stem"}),
        ({"encoder.stem.": "first."}, {"key_to_stem": "first"}),
        ({"encoder.": "module._orig_mod.encoder."}, {}),
    ],
    ids=["encoder alone", "encoder alone, plan of all", "other prefix", "module", "stem outside", "wrapped"],
)
def test_nnssl_encoders_under_other_names(file: Path, rename: dict[str, str], keys: dict[str, str]) -> None:
    weights = encoder_of(residual_weights(), rename) | {"projector.weight": torch.ones(2)}
    torch.save({"network_weights": weights, "nnssl_adaptation_plan": adaptation_plan(**keys)}, file)
    assert_equal(open_source(file).weights, without_aliases(encoder_of(residual_weights(), {})))


def test_nnssl_resenc_l_is_built_as_its_name_says(file: Path) -> None:
    torch.save({"network_weights": residual_weights(), "nnssl_adaptation_plan": adaptation_plan("ResEncL")}, file)
    architecture = open_source(file).architecture
    assert architecture is not None
    with torch.device("meta"):
        network = build_network(architecture, 1, 1)
    encoder = sum(value.numel() for name, value in network.named_parameters() if name.startswith("encoder."))
    assert 85e6 < encoder < 95e6
    # "meta" tensors have no values: only names and shapes are looked at.
    assert network.get_parameter("encoder.stages.5.blocks.5.conv2.conv.weight").shape == (320, 320, 3, 3, 3)


def test_nnssl_refusals(file: Path) -> None:
    torch.save({"network_weights": {"eva.x": torch.ones(1)}, "nnssl_adaptation_plan": adaptation_plan("PrimusM")}, file)
    with pytest.raises(CheckpointError, match=r"transformer \(PrimusM\)"):
        open_source(file)
    plan = adaptation_plan(key_to_encoder="backbone.stages")
    torch.save({"network_weights": residual_weights(), "nnssl_adaptation_plan": plan}, file)
    with pytest.raises(CheckpointError, match=r"under 'backbone\.stages', but no tensor is; .* encoder\.stem"):
        open_source(file)


@pytest.mark.parametrize("key", ["network_weights", "state_dict", "model_state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.module."])
def test_state_dicts(file: Path, key: str | None, prefix: str) -> None:
    weights = {prefix + name: tensor for name, tensor in plain_weights().items()}
    torch.save({key: weights, "epoch": 3} if key else weights, file)
    source = open_source(file)
    assert source.kind == "state dict"
    assert source.architecture is None
    assert_equal(source.weights, without_aliases(plain_weights()))


def test_compiled_parts_and_state_dicts_that_hold_aliases_only(file: Path) -> None:
    weights = {
        name.replace("encoder.stages", "encoder._orig_mod.stages"): tensor
        for name, tensor in plain_weights().items()
        if "all_modules" in name and not name.startswith("encoder.")
    }
    torch.save(weights, file)
    expected = {name: value for name, value in without_aliases(plain_weights()).items() if ".convs." in name}
    assert_equal(open_source(file).weights, expected)


@pytest.mark.parametrize(
    "alias",
    [
        "decoder.encoder.stages.1.0.convs.0.conv.weight",
        "encoder.stages.1.0.convs.0.all_modules.0.bias",
        "decoder.encoder.stages.1.0.convs.0.all_modules.1.weight",
    ],
)
def test_aliases_that_disagree_are_named(file: Path, alias: str) -> None:
    weights = plain_weights()
    weights[alias] = weights[alias] + 1
    torch.save(weights, file)
    with pytest.raises(CheckpointError) as raised:
        open_source(file)
    assert f"{alias} and encoder.stages.1.0.convs.0." in str(raised.value)
    weights[alias] = plain_weights()[alias].double()
    torch.save(weights, file)
    with pytest.raises(CheckpointError, match="two names of one tensor, but their values differ"):
        open_source(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["ours", "nnU-Net v2", "nnssl", "state dict", "nnU-Net v1"])
def test_weights_that_are_not_finite_are_refused_by_name(file: Path, kind: str, value: float) -> None:
    weights, name = plain_weights(), "encoder.stages.1.0.convs.0.conv.bias"
    if kind == "nnU-Net v1":
        name = "conv_blocks_context.0.blocks.0.conv.weight"
        weights = {name: torch.ones(1, 1, 3, 3, 3), "conv_blocks_localization.0.0.blocks.0.conv.weight": torch.ones(1)}
    weights[name] = weights[name].clone()
    weights[name].view(-1)[1] = value
    content = {
        "ours": genesis_content(weights),
        "nnU-Net v2": nnunet_v2_content(weights),
        "nnssl": {"network_weights": weights, "nnssl_adaptation_plan": adaptation_plan()},
    }.get(kind, {"state_dict": weights})
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=f"the tensor {name} holds NaN or infinite values"):
        open_source(file)


def test_keys_that_nearly_match(file: Path) -> None:
    torch.save({"network_weigths": plain_weights()}, file)
    with pytest.raises(CheckpointError, match=r"under 'network_weigths', .*did you mean network_weights\?"):
        open_source(file)
    torch.save({name.replace("stages", "stage"): tensor for name, tensor in plain_weights().items()}, file)
    with pytest.raises(CheckpointError, match=r"no encoder with the names .* begin with encoder\.stage\.0\.0\.convs"):
        open_source(file)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"network_weights": {}}, {"state_dict": {"a": 1}}])
def test_dictionaries_without_tensors(file: Path, content: dict[str, Any]) -> None:
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=rf"no tensor at all .*{next(iter(content), 'none')}"):
        open_source(file)


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("decoder", [True, False], ids=["whole", "encoder"])
def test_the_original_network_of_models_genesis_is_refused_with_the_reason(
    file: Path, prefix: str, decoder: bool
) -> None:
    names = [f"down_tr{width}.ops.{layer}.conv1.weight" for width in (64, 128, 256, 512) for layer in (0, 1)]
    names += [f"down_tr64.ops.0.bn1.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    names += ["up_tr256.up_conv.weight", "up_tr256.ops.0.conv1.weight", "out_tr.final_conv.weight"] if decoder else []
    torch.save({"epoch": 30, "state_dict": {prefix + name: torch.ones(1) for name in names}}, file)
    with pytest.raises(CheckpointError) as raised:
        open_source(file)
    for words in ("original network of Models Genesis", "batch normalisation", "genesis-pretrain-nnunet DATASET"):
        assert words in str(raised.value)


def test_nnunet_v1_goes_to_its_converter(file: Path) -> None:
    names = ("conv_blocks_context.0.blocks.0.conv.weight", "conv_blocks_localization.0.0.blocks.0.conv.weight")
    torch.save({"state_dict": {f"module.{name}": torch.ones(1, 1, 3, 3, 3) for name in names}, "epoch": 1}, file)
    with pytest.raises(CheckpointError, match="Generic_UNet"):
        open_source(file)


def test_a_tensor_with_and_without_its_wrapper_must_be_the_same(file: Path) -> None:
    weights, name = plain_weights(), "encoder.stages.1.0.convs.0.conv.bias"
    torch.save(weights | {f"module.{name}": weights[name].clone()}, file)
    assert_equal(open_source(file).weights, without_aliases(weights))
    torch.save(weights | {f"module.{name}": weights[name] + 1}, file)
    with pytest.raises(CheckpointError, match=rf"module\.{name} and {name} are two names of one tensor"):
        open_source(file)
