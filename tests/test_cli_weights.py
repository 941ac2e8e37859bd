"""``genesis inspect``, ``convert`` and ``export``: what they say, what they refuse, and that nothing is overwritten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nnunet_genesis.encoder import load_encoder
from nnunet_genesis.interop import open_source
from nnunet_genesis.networks import build_network
from nnunet_genesis.transfer import load_weights
from tests.commands import genesis
from tests.interop.written import write_genesis, write_nnunet_v1, write_nnunet_v2, write_wrapped_state_dict
from tests.preprocessed import smooth_cases, write_dataset
from tests.transfer.networks import build, describe, encoder

if TYPE_CHECKING:
    from pathlib import Path

PLAIN: dict[str, Any] = {"features": (4, 8, 16), "blocks": [2, 2, 2], "decoder_blocks": 2}


def run(capsys: pytest.CaptureFixture[str], *arguments: object, expect: int = 0) -> str:
    """Run ``genesis`` and return what it said."""
    code, said = genesis(*arguments), capsys.readouterr()
    assert code == expect, said.err
    return said.out if expect == 0 else said.err


def add_plans(dataset: Path, name: str, architecture: dict[str, Any]) -> None:
    """Write plans that differ from the dataset's own in name and architecture."""
    plans = json.loads((dataset / "nnUNetPlans.json").read_text())
    plans["plans_name"] = name
    plans["configurations"]["3d_fullres"]["architecture"] = architecture
    (dataset / f"{name}.json").write_text(json.dumps(plans))


def test_inspect_tells_what_the_file_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "some.pth"
    write_genesis(file, build(2, residual=True), describe(residual=True))
    said = run(capsys, "inspect", file).splitlines()
    assert said[0] == str(file)
    assert said[1].startswith("format: nnunet-genesis pretraining, ")
    assert "architecture: ResidualEncoderUNet, 3 stages, features 4/8/16" in said
    assert "per stage: 1/1/1 blocks, kernels 3x3x3 3x3x3 3x3x3, strides 1x1x1 2x2x2 2x2x2" in said
    assert "pretext: models-genesis" in said
    assert "its settings: found (classes 44, features None), ratio 0.6, 0.9, block none, side 8/4" in said
    assert "patch, voxels: 32/32/32" in said
    assert "spacing, mm: 1, 1, 1" in said
    assert "cases: 2" in said
    assert "cite: Zhou et al., arXiv 1908.06912" in said
    assert not any("case_00" in line for line in said), "names of cases may be names of patients"


def test_inspect_shows_a_transfer_and_the_plans_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path, smooth_cases(2, (8, 16, 16)), (8, 16, 16), monkeypatch)
    larger = describe(features=(4, 8, 16), strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]])
    add_plans(dataset, "nnUNetPlansLarger", larger)
    add_plans(dataset, "nnUNetResEncUNetLPlans", describe(residual=True))
    file = tmp_path / "some.pth"
    write_genesis(file, build(4), describe())
    said = run(capsys, "inspect", file, "--into", "777", "-p", "nnUNetPlansLarger")
    assert "loaded 11 tensors, adapted 1, 100 % of the encoder's parameters" in said
    assert "adapted: encoder.stages.0.0.convs.0.conv.weight: input channels 4 to 1" in said
    assert "note: stage 1: stride [1, 2, 2] in the network, [2, 2, 2] where the weights were trained" in said
    assert "note: spacing: 1 x 1 x 1 mm in pretraining, 3 x 1 x 1 mm here" in said
    assert "  100 %  -p nnUNetPlansLarger -c 3d_fullres" in said
    assert "refused  -p nnUNetResEncUNetLPlans -c 3d_fullres" in said
    refused = run(capsys, "inspect", file, "--into", "777", "-c", "3d_lowres", expect=1)
    assert "777 has no configuration 3d_lowres in nnUNetPlans" in refused
    assert "-p nnUNetPlansLarger -c 3d_fullres" in refused


@pytest.mark.parametrize("write", [write_nnunet_v2, write_nnunet_v1])
def test_a_converted_file_is_complete_and_computes_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write: object
) -> None:
    network, file, out = build(**PLAIN), tmp_path / "theirs", tmp_path / "ours.pth"
    assert callable(write)
    write(file, network, describe(**PLAIN))
    assert "complete: nnUNetTrainerGenesis and stock -pretrained_weights can read it" in run(
        capsys, "convert", file, out
    )
    converted = torch.load(out, weights_only=True)["network_weights"]
    assert converted.keys() == network.state_dict().keys(), "all names, aliases too"
    source = open_source(out)
    assert source.kind == "nnunet-genesis pretraining"
    filled = build(**PLAIN, seed=1)
    assert load_weights(filled, source).encoder_share == 1
    image = torch.rand(1, 1, 16, 16, 16)
    for ours, theirs in zip(encoder(filled)(image), encoder(network)(image), strict=True):
        assert torch.equal(ours, theirs)
    before = out.read_bytes()
    assert "the file is there already" in run(capsys, "convert", file, out, expect=1)
    assert out.read_bytes() == before
    assert "a checkpoint of nnunet-genesis already" in run(capsys, "convert", out, tmp_path / "again.pth", expect=1)


def test_labels_that_a_cascade_reads_are_no_images_after_conversion_or_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second stage of a cascade: one image, and the two labels of the first stage."""
    network, file, out = build(3, **PLAIN), tmp_path / "theirs.pth", tmp_path / "ours.pth"
    write_nnunet_v2(file, network, describe(**PLAIN))  # which tells of one channel
    image = torch.rand(1, 1, 16, 16, 16)
    with_no_labels = torch.cat([image, torch.zeros(1, 2, 16, 16, 16)], dim=1)
    expected = encoder(network)(with_no_labels)
    run(capsys, "convert", file, out)
    for source in (file, out):
        filled = build(**PLAIN, seed=1)
        assert "2 channels of the previous stage in the file left out" in str(
            load_weights(filled, open_source(source)).adapted
        )
        for ours, theirs in zip(encoder(filled)(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        assert load_encoder(source).in_channels == 1
    run(capsys, "export", "--encoder", out, tmp_path / "encoder.safetensors")
    for ours, theirs in zip(load_encoder(tmp_path / "encoder.safetensors")(image), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_converting_weights_of_an_unknown_architecture_says_who_can_read_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, file, out = build(**PLAIN), tmp_path / "theirs.pth", tmp_path / "ours.pth"
    write_wrapped_state_dict(file, network, {})
    assert "its architecture is unknown: only nnUNetTrainerGenesis can read it" in run(capsys, "convert", file, out)
    assert load_weights(build(**PLAIN, seed=1), open_source(out)).encoder_share == 1


def test_a_file_that_names_a_function_as_its_network_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, file = tmp_path / "code_ran", tmp_path / "hostile.pth"
    hostile = {**describe(**PLAIN), "network_class_name": "os.system", "arch_kwargs": {"command": f"touch {trace}"}}
    write_nnunet_v2(file, build(**PLAIN), {**hostile, "_kw_requires_import": []})
    said = run(capsys, "convert", file, tmp_path / "ours.pth", expect=1)
    assert "names 'os.system', which is no layer or network" in said
    assert not trace.exists()
    assert not (tmp_path / "ours.pth").exists()


def test_an_exported_second_stage_names_the_first_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = tmp_path / "nnUNetTrainerGenesis__nnUNetPlans__3d_cascade_fullres"
    (ours / "fold_0").mkdir(parents=True)
    write_nnunet_v2(ours / "fold_0" / "checkpoint_final.pth", build(**PLAIN), describe(**PLAIN))
    settings = {"architecture": describe(**PLAIN)}
    configurations = {"3d_lowres": settings, "3d_cascade_fullres": {**settings, "previous_stage": "3d_lowres"}}
    (ours / "plans.json").write_text(json.dumps({"plans_name": "nnUNetPlans", "configurations": configurations}))
    (ours / "dataset.json").write_text("{}")
    said = run(capsys, "export", ours, tmp_path / "out")
    assert "-i IN -o OUT -prev_stage_predictions FIRST\n" in said
    assert f"genesis export {tmp_path / 'nnUNetTrainerGenesis__nnUNetPlans__3d_lowres'} {tmp_path / 'out'}\n" in said


def test_only_finished_models_of_ours_are_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stock = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    stock.mkdir()
    assert "is no model of nnUNetTrainerGenesis" in run(capsys, "export", stock, tmp_path / "out", expect=1)
    ours = tmp_path / "nnUNetTrainerGenesis__nnUNetPlans__3d_fullres"
    ours.mkdir()
    assert "the model is not finished" in run(capsys, "export", ours, tmp_path / "out", expect=1)
    (ours / "fold_0").mkdir()
    for name in ("plans.json", "dataset.json", "fold_0/checkpoint_best.pth"):
        (ours / name).write_text("{}")
    assert "no fold_*/checkpoint_final.pth" in run(capsys, "export", ours, tmp_path / "out", expect=1)
    assert "no such folder" in run(capsys, "export", tmp_path / "absent", tmp_path / "out", expect=1)
    assert not (tmp_path / "out").exists()


def test_a_trainers_batch_norm_is_not_taken_for_the_instance_norm_of_its_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of the stock nnUNetTrainerBN hold plans of another network than their weights."""
    plans = describe(**PLAIN)
    batch_norm = {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"}
    built = {**plans, "arch_kwargs": {**plans["arch_kwargs"], **batch_norm}}
    file = tmp_path / "theirs.pth"
    write_nnunet_v2(file, build_network(built, 1, 3), plans)
    said = run(capsys, "inspect", file)
    assert "architecture: the file does not tell" in said
    assert "its trainer built batch normalisation, its plans name InstanceNorm3d" in said
    refused = run(capsys, "export", "--encoder", file, tmp_path / "encoder.safetensors", expect=1)
    assert "does not tell its network's architecture" in refused
    assert not (tmp_path / "encoder.safetensors").exists()


def test_an_encoder_that_is_claimed_to_be_huge_is_never_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = describe(**PLAIN)
    for claims, told in (
        ({"features_per_stage": [30_000] * 3}, "the file describes an encoder of"),
        ({"n_stages": 10**7}, "n_stages 10000000 (at most 64)"),
    ):
        file = tmp_path / f"{next(iter(claims))}.pth"
        write_genesis(file, build(**PLAIN), {**honest, "arch_kwargs": {**honest["arch_kwargs"], **claims}})
        said = run(capsys, "export", "--encoder", file, tmp_path / "encoder.safetensors", expect=1)
        assert told in said


def test_a_flipped_byte_in_an_exported_encoder_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "ours.pth", tmp_path / "encoder.safetensors"
    write_genesis(file, build(**PLAIN), describe(**PLAIN))
    run(capsys, "export", "--encoder", file, out)
    assert "format: " in run(capsys, "inspect", out)
    content = bytearray(out.read_bytes())
    content[-100] ^= 1
    out.write_bytes(bytes(content))
    assert "their checksum differs" in run(capsys, "inspect", out, expect=1)


def test_converted_files_are_not_pushed_as_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "theirs.pth", tmp_path / "ours.pth"
    write_nnunet_v2(file, build(**PLAIN), describe(**PLAIN))
    run(capsys, "convert", file, out)
    assert "converted: from nnU-Net v2 model" in run(capsys, "inspect", out)
    assert "was converted from another (nnU-Net v2 model)" in run(capsys, "push", out, "ann/liver", expect=1)


def test_inspect_says_when_training_would_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path, smooth_cases(2, (8, 16, 16)), (8, 16, 16), monkeypatch)
    file = tmp_path / "wide.pth"
    write_genesis(file, build(features=(8, 16)), describe(features=(8, 16)))
    said = run(capsys, "inspect", file, "--into", "777")
    assert "nnUNetTrainerGenesis would refuse this: only 0 % of the encoder" in said
    write_genesis(file, build(features=(4, 8, 16)), describe(features=(4, 8, 16)))
    assert "would refuse this" not in run(capsys, "inspect", file, "--into", "777")
    write_genesis(file, build(features=(4, 16)), describe(features=(4, 16)))
    assert "(nnunet-genesis pretraining; at least 90 %" in run(capsys, "inspect", file, "--into", "777")
    monkeypatch.setenv("nnUNet_genesis_minimum_share", "0.01")  # the trainer's own variable
    assert "would refuse this" not in run(capsys, "inspect", file, "--into", "777")
    write_genesis(file, build(residual=True), describe(residual=True))
    said = run(capsys, "inspect", file, "--into", "777")
    assert "nnUNetTrainerGenesis would refuse this: the file (nnunet-genesis pretraining) holds a residual" in said
    assert "a residual encoder of 3 stages" in said
    assert "nnUNetPlannerResEncL" in said


def test_inspect_goes_on_where_other_plans_describe_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path, smooth_cases(2, (8, 16, 16)), (8, 16, 16), monkeypatch)
    broken = describe(features=(4, 8))
    broken["arch_kwargs"]["n_stages"] = 5
    add_plans(dataset, "nnUNetPlansBroken", broken)
    file = tmp_path / "some.pth"
    write_genesis(file, build(), describe())
    said = run(capsys, "inspect", file, "--into", "777")
    assert "  100 %  -p nnUNetPlans -c 3d_fullres" in said
    assert "refused  -p nnUNetPlansBroken -c 3d_fullres" in said
    said = run(capsys, "inspect", file, "--into", "777", "-p", "nnUNetPlansBroken")
    assert "nnUNetTrainerGenesis would refuse this: " in said
    assert "nnUNetPlansBroken.json" in said
