"""The encoder as a plain module: the features of the file's network, described truly, and never code from a file."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

import nnunet_genesis
from nnunet_genesis import checkpoint
from nnunet_genesis.encoder import export_encoder, load_encoder
from nnunet_genesis.errors import CheckpointError, SetupError, TransferError
from tests.hub_server import Repository, running_hub
from tests.transfer.networks import describe

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

CASE = "meier_hans"
architecture = partial(describe, (4, 8, 12), blocks=[1, 2, 1])


def build(described: dict[str, Any], channels: int = 1) -> nn.Module:
    """By nnU-Net's own hand, so that what ours builds is compared with it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = get_network_from_plans(
            described["network_class_name"],
            dict(described["arch_kwargs"]),
            described["_kw_requires_import"],
            channels,
            channels,
            deep_supervision=False,
        )
    return network


def write_checkpoint(file: Path, described: dict[str, Any], channels: int = 1, **changes: Any) -> nn.Module:
    """Write a file as genesis-pretrain-nnunet does, and return the network that is in it."""
    network = build(described, channels)
    dim = len(described["arch_kwargs"]["strides"][0])
    genesis = {
        "format_version": checkpoint.FORMAT_VERSION,
        "pretext": "models-genesis",
        "dataset": "Dataset003_Liver",
        "plans": "nnUNetPlans",
        "configuration": "3d_fullres",
        "patch_size": [16] * dim,
        "spacing": [2.5, 0.75, 0.75][:dim],
        "channel_names": ["CT", "PET"][:channels],
        "num_channels": channels,
        "normalization_schemes": ["CTNormalization"] * channels,
        "architecture": described,
        "num_cases": 1,
        "cases": {CASE: "ab"},
        "validation_cases": {},
        "excluded_cases": [],
        "epochs": 3,
        "package_versions": {"torch": "2.15.0"},
        "citations": ["Zhou et al., Models Genesis, MICCAI 2019"],
    }
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    checkpoint.write(file, {"network_weights": weights, "genesis": {**genesis, **changes}})
    return network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "checkpoint_final.pth", architecture())
    return tmp_path / "checkpoint_final.pth"


@pytest.mark.parametrize(
    "described",
    [
        architecture(),
        architecture(residual=True),
        architecture(dim=2),
        architecture(strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]]),
    ],
    ids=["plain", "residual", "2d", "anisotropic"],
)
@pytest.mark.parametrize("exported", [False, True])
def test_features_are_those_of_the_network_and_the_attributes_describe_them(
    tmp_path: Path, described: dict[str, Any], exported: bool
) -> None:
    file = tmp_path / "checkpoint_final.pth"
    network = write_checkpoint(file, described)
    if exported:
        export_encoder(file, tmp_path / "encoder.safetensors")
        file = tmp_path / "encoder.safetensors"
    encoder = load_encoder(file)
    dim = len(described["arch_kwargs"]["strides"][0])
    residual = described["network_class_name"].endswith("ResidualEncoderUNet")
    size = ((16, 24, 32) if residual else (17, 24, 16))[:dim]
    image = torch.rand(2, 1, *size)
    features = encoder(image)
    for ours, expected in zip(features, network.get_submodule("encoder")(image), strict=True):
        assert torch.equal(ours, expected)
    assert encoder.channels == tuple(part.shape[1] for part in features) == (4, 8, 12)
    for stride, part in zip(encoder.strides, features, strict=True):
        assert tuple(part.shape[2:]) == tuple(-(-voxels // step) for voxels, step in zip(size, stride, strict=True))
    assert encoder.patch_size == (16,) * dim
    assert encoder.spacing == (2.5, 0.75, 0.75)[:dim]
    assert encoder.in_channels == 1
    assert encoder.description["normalization_schemes"] == ["CTNormalization"]


def test_a_residual_encoder_says_which_sizes_it_takes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pth", architecture(residual=True))
    with pytest.raises(SetupError, match=r"\(17, 16, 16\) is no multiple of \(4, 4, 4\)"):
        load_encoder(tmp_path / "a.pth")(torch.rand(1, 1, 17, 16, 16))


@pytest.mark.parametrize(
    ("residual", "strides", "small", "fitting"),
    [
        (False, None, (4, 4, 4), (8, 4, 4)),
        (False, None, (3, 4, 1), (3, 8, 1)),
        (False, [[1, 1, 1], [1, 2, 2], [1, 2, 2]], (1, 3, 4), (2, 3, 4)),
        (True, None, (4, 4, 4), (8, 4, 4)),
        (True, None, (2, 3, 2), (4, 8, 4)),
        (True, None, (5, 3, 9), (8, 4, 12)),
        (False, [[1, 1], [2, 2], [2, 2]], (2, 3), (2, 8)),
    ],
)
def test_inputs_that_leave_one_voxel_are_told_with_a_size_that_fits(
    tmp_path: Path, residual: bool, strides: list[list[int]] | None, small: tuple[int, ...], fitting: tuple[int, ...]
) -> None:
    write_checkpoint(tmp_path / "a.pth", architecture(residual=residual, strides=strides, dim=len(small)))
    encoder = load_encoder(tmp_path / "a.pth").eval()
    assert encoder.fitting_size(small) == fitting
    assert encoder.fitting_size(fitting) == fitting
    message = "is no multiple of" if residual and small != (4, 4, 4) else "leaves one voxel at the deepest stage"
    with pytest.raises(SetupError, match=message) as raised:
        encoder(torch.rand(1, 1, *small))
    assert raised.value.mend == f"pad the input, for instance to {fitting}"
    assert encoder(torch.rand(1, 1, *fitting))[-1][0, 0].numel() > 1


def test_a_plain_encoder_takes_one_voxel_more_than_its_stride(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pth", architecture())
    encoder = load_encoder(tmp_path / "a.pth")
    assert encoder.fitting_size((5, 4, 4)) == (5, 4, 4)
    assert encoder(torch.rand(1, 1, 5, 4, 4))[-1].shape[2:] == (2, 1, 1)


def test_an_encoder_without_instance_norm_takes_a_single_voxel(tmp_path: Path) -> None:
    described = architecture()
    described["arch_kwargs"]["norm_op"] = "torch.nn.modules.batchnorm.BatchNorm3d"
    write_checkpoint(tmp_path / "a.pth", described)
    encoder = load_encoder(tmp_path / "a.pth").eval()
    assert encoder(torch.rand(1, 1, 4, 4, 4))[-1].shape[2:] == (1, 1, 1)


def test_the_module_is_plain_trainable_and_the_same_in_both_modes(file: Path) -> None:
    encoder = load_encoder(file)
    image = torch.rand(1, 1, 16, 16, 16)
    for ours, expected in zip(encoder.train()(image), encoder.eval()(image), strict=True):
        assert torch.equal(ours, expected)
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    encoder(image)[-1].square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    copied = copy.deepcopy(encoder)
    copied.load_state_dict(encoder.state_dict())
    assert torch.equal(copied(image)[-1], encoder(image)[-1])
    stream = io.BytesIO()
    torch.save(encoder.state_dict(), stream)
    assert not any(name.startswith("decoder") for name in encoder.state_dict())


def test_loading_leaves_the_random_generator_alone(file: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_encoder(file)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(("old", "new"), [(1, 3), (2, 1), (2, 3)])
@pytest.mark.parametrize("exported", [False, True])
def test_other_input_channels_keep_the_response_to_equal_channels(
    tmp_path: Path, old: int, new: int, exported: bool
) -> None:
    file = tmp_path / "checkpoint_final.pth"
    network = write_checkpoint(file, architecture(), old)
    if exported:
        export_encoder(file, tmp_path / "encoder.safetensors")
        file = tmp_path / "encoder.safetensors"
    encoder = load_encoder(file, in_channels=new)
    image = torch.rand(1, 1, 16, 16, 16)
    theirs = network.get_submodule("encoder")(image.expand(-1, old, -1, -1, -1))
    for ours, expected in zip(encoder(image.expand(-1, new, -1, -1, -1)), theirs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert encoder.in_channels == new
    with pytest.raises(SetupError, match=rf"needed is \(batch, {new} channels, 3 spatial axes\)"):
        encoder(torch.rand(1, new + 1, 16, 16, 16))


def test_wrong_calls_are_told(file: Path) -> None:
    with pytest.raises(SetupError, match="in_channels=0"):
        load_encoder(file, in_channels=0)
    with pytest.raises(SetupError, match=r"the input has the shape \(1, 16, 16, 16\)"):
        load_encoder(file)(torch.rand(1, 16, 16, 16))


@pytest.mark.parametrize(
    ("told", "expected"),
    [([8, 16, 8], (8, 16, 8)), ([8, 16], (16,) * 3), (8, (16,) * 3), (["8", "16", "8"], (16,) * 3), (None, (16,) * 3)],
)
def test_the_patch_size_is_that_of_the_crops_it_was_trained_on(
    tmp_path: Path, told: Any, expected: tuple[int, ...]
) -> None:
    file, exported = tmp_path / "checkpoint_final.pth", tmp_path / "encoder.safetensors"
    write_checkpoint(file, architecture(), pretext="semantic-genesis", pretext_settings={"crop_size": told})
    export_encoder(file, exported)
    for one in (file, exported):
        encoder = load_encoder(one)
        assert encoder.patch_size == expected
        assert tuple(encoder.description["patch_size"]) == expected


def test_a_file_on_the_hub_is_loaded(file: Path, tmp_path: Path) -> None:
    code = "import sys, nnunet_genesis; print(nnunet_genesis.load_encoder(sys.argv[1]).channels)"
    with running_hub() as hub:
        hub.repositories["ann/liver"] = Repository()
        hub.repositories["ann/liver"].commit({"checkpoint_final.pth": file.read_bytes()})
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, "hf://ann/liver"],
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.stdout.strip() == "(4, 8, 12)", result.stderr


def test_the_package_gives_load_encoder_and_stays_light() -> None:
    assert nnunet_genesis.load_encoder is load_encoder
    with pytest.raises(AttributeError, match="has no attribute 'load_decoder'"):
        nnunet_genesis.load_decoder  # noqa: B018
    code = "import sys, nnunet_genesis; sys.exit(int(not {'torch', 'huggingface_hub'}.isdisjoint(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_exported_file_describes_itself_without_names_of_cases_and_holds_the_encoder_once(
    file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "encoder.safetensors"
    export_encoder(file, out)
    with safetensors.safe_open(out, framework="pt") as opened:
        names, metadata = list(opened.keys()), opened.metadata()
    parameters = dict(load_encoder(file).named_parameters())
    assert sorted(names) == sorted(parameters)
    assert CASE not in out.read_bytes().decode("latin-1")
    described = json.loads(metadata["nnunet_genesis_encoder"])
    assert described["architecture"] == architecture()
    for key, value in (("dataset", "Dataset003_Liver"), ("patch_size", [16] * 3), ("spacing", [2.5, 0.75, 0.75])):
        assert described[key] == value
    assert described["citations"] == ["Zhou et al., Models Genesis, MICCAI 2019"]
    again = tmp_path / "again.safetensors"
    export_encoder(out, again)
    assert again.read_bytes() == out.read_bytes()


def test_export_overwrites_nothing(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "encoder.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(SetupError, match="nothing was overwritten"):
        export_encoder(file, out)
    assert out.read_bytes() == b"mine"
    with pytest.raises(SetupError, match=r"does not end with \.safetensors"):
        export_encoder(file, tmp_path / "encoder.pth")
    with pytest.raises(SetupError, match="no such folder"):
        export_encoder(file, tmp_path / "nowhere" / "encoder.safetensors")


def test_a_failed_export_leaves_nothing(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnunet_genesis.encoder_file.to_bytes", lambda *_: "text that no binary file takes")
    with pytest.raises(TypeError):
        export_encoder(file, tmp_path / "encoder.safetensors")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("nonlin", "nonlin_kwargs"), ("norm_op", "norm_op_kwargs"), ("dropout_op", "dropout_op_kwargs")],
)
@pytest.mark.parametrize("callee", ["subprocess.Popen", "torch.nn.modules.module.subprocess.Popen"])
def test_a_file_that_names_code_is_refused_without_running_it(
    tmp_path: Path, name: str, arguments: str, callee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.modules.module, "subprocess", subprocess, raising=False)
    trace = tmp_path / "code_ran"
    described = architecture()
    network = build(described)
    described["arch_kwargs"][name] = callee
    described["arch_kwargs"][arguments] = {"args": ["touch", str(trace)]}
    weights = {name: tensor.detach() for name, tensor in network.named_parameters() if name.startswith("encoder.")}
    text = json.dumps({"format_version": 1, "architecture": described})
    exported = safetensors.torch.save(weights, metadata={"nnunet_genesis_encoder": text})
    (tmp_path / "encoder.safetensors").write_bytes(exported)
    genesis = {"format_version": checkpoint.FORMAT_VERSION, "architecture": described}
    checkpoint.write(tmp_path / "a.pth", {"network_weights": network.state_dict(), "genesis": genesis})
    for file in ("encoder.safetensors", "a.pth"):
        with pytest.raises(CheckpointError, match="is no layer or network"):
            load_encoder(tmp_path / file)
    assert not trace.exists()


def test_broken_files_are_told(file: Path, tmp_path: Path) -> None:
    export_encoder(file, tmp_path / "encoder.safetensors")
    whole = (tmp_path / "encoder.safetensors").read_bytes()
    broken = tmp_path / "broken"
    for share in (0.001, 0.5, 0.99):
        broken.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match="damaged or incomplete"):
            load_encoder(broken)
    broken.write_bytes(safetensors.torch.save({"encoder.x": torch.ones(2)}))
    with pytest.raises(CheckpointError, match="safetensors without the description"):
        load_encoder(broken)
    text = json.dumps({"format_version": 99})
    broken.write_bytes(safetensors.torch.save({"x": torch.ones(2)}, metadata={"nnunet_genesis_encoder": text}))
    with pytest.raises(CheckpointError, match="format version 99"):
        load_encoder(broken)


def test_networks_are_found_where_they_were_moved_to(tmp_path: Path) -> None:
    """Plans of nnU-Net before 2.4 name a module of dynamic_network_architectures that is gone."""
    described = architecture()
    name = described["network_class_name"].rsplit(".", 1)[-1]
    moved = {**described, "network_class_name": f"dynamic_network_architectures.architectures.residual_unet.{name}"}
    file = tmp_path / "checkpoint_final.pth"
    weights = dict(build(described).state_dict())
    content = {"format_version": checkpoint.FORMAT_VERSION, "architecture": moved}
    checkpoint.write(file, {"network_weights": weights, "genesis": content})
    assert load_encoder(file).channels == tuple(described["arch_kwargs"]["features_per_stage"])
    unknown = {**moved, "network_class_name": "dynamic_network_architectures.architectures.residual_unet.Unknown"}
    checkpoint.write(file, {"network_weights": weights, "genesis": {**content, "architecture": unknown}})
    with pytest.raises(CheckpointError, match=r"residual_unet\.Unknown', which is no layer or network"):
        load_encoder(file)


@pytest.mark.parametrize("plans", [None, {"configurations": {"3d_fullres": {"patch_size": [16, 16, 16]}}}])
def test_files_without_an_architecture_are_refused(tmp_path: Path, plans: dict[str, Any] | None) -> None:
    """Plain state dicts, and models of nnU-Net before 2.4."""
    weights = build(architecture()).state_dict()
    content = {"init_args": {"plans": plans, "configuration": "3d_fullres"}, "network_weights": weights}
    torch.save(weights if plans is None else content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="does not tell its network's architecture") as raised:
        load_encoder(tmp_path / "model.pth")
    assert "nnU-Net 2.4 or later" in str(raised.value.mend)


def test_weights_that_do_not_fill_the_described_encoder_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_final.pth"
    described = architecture()
    content = {"format_version": checkpoint.FORMAT_VERSION, "architecture": described}
    weights = dict(build(described).state_dict())
    missing = {name: tensor for name, tensor in weights.items() if ".stages.2." not in name}
    checkpoint.write(file, {"network_weights": missing, "genesis": content})
    with pytest.raises(CheckpointError, match="describes an encoder of 3 stages, and holds one of 2 stages"):
        load_encoder(file)
    some = {name: t for name, t in weights.items() if not (".stages.2." in name and name.endswith(".bias"))}
    checkpoint.write(file, {"network_weights": some, "genesis": content})
    with pytest.raises(CheckpointError, match="tensors of the encoder that the file describes are not in it"):
        load_encoder(file)
    name = "encoder.stages.1.0.convs.0.conv.weight"
    checkpoint.write(
        file, {"network_weights": {**weights, name: torch.full_like(weights[name], torch.nan)}, "genesis": content}
    )
    with pytest.raises((TransferError, CheckpointError), match="NaN"):
        load_encoder(file)
    checkpoint.write(
        file, {"network_weights": weights, "genesis": {**content, "architecture": {**described, "arch_kwargs": {}}}}
    )
    with pytest.raises(CheckpointError, match=r"architecture in the file is incomplete \(KeyError"):
        load_encoder(file)
