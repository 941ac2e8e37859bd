"""``genesis submit --format ssl3d``: a ResEnc-L goes through, anything else is refused with all that is wrong."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_genesis import checkpoint
from nnunet_genesis.errors import CheckpointError
from nnunet_genesis.interop import nnssl, open_source
from nnunet_genesis.interop.safe_reading import read_safely
from nnunet_genesis.interop.source import SourceModel
from nnunet_genesis.networks import build_network, build_source_network
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.provenance import nnssl_adaptation_plan
from nnunet_genesis.submission.ssl3d import submit_ssl3d
from nnunet_genesis.submission.ssl3d_checks import ARCHITECTURE, find_problems
from nnunet_genesis.transfer.names import is_alias
from nnunet_genesis.weights_digest import weights_digest
from tests.commands import genesis
from tests.planned import MR, planned
from tests.preprocessed import tiny_plans
from tests.transfer.networks import describe


def content_of(
    weights: dict[str, torch.Tensor], architecture: dict[str, Any], patch_size: tuple[int, ...] = (160, 160, 160)
) -> dict[str, Any]:
    """What genesis-pretrain-nnunet writes."""
    plans = planned(MR)
    plans = type(plans)(**{**vars(plans), "architecture": architecture, "patch_size": patch_size})
    genesis = {
        "format_version": checkpoint.FORMAT_VERSION,
        "pretext": "models-genesis",
        "dataset": "Dataset999_Test",
        "patch_size": list(patch_size),
        "num_channels": 1,
        "architecture": architecture,
        "cases": {"case_000": "0" * 64},
        "epochs": 250,
        "seed": 3,
        "citations": ["Zhou et al., arXiv 1908.06912"],
        checkpoint.CHECKSUM_KEY: weights_digest(weights),
    }
    return {
        "network_weights": weights,
        "genesis": genesis,
        "nnssl_adaptation_plan": nnssl_adaptation_plan(plans),
    }


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """A ResEnc-L of full size, 102 million parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(ARCHITECTURE, 1, 1)


def submit(*arguments: object) -> int:
    return genesis("submit", "--format", "ssl3d", *arguments)


@pytest.mark.slow
def test_a_resenc_l_is_written_as_nnssl_writes_it(network: torch.nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_final.pth"
    checkpoint.write(file, content_of(network.state_dict(), ARCHITECTURE))
    assert submit("--checkpoint", file, "--output", tmp_path / "out") == 0
    target = tmp_path / "out" / "checkpoint_final.pth"
    content = torch.load(target, weights_only=True)
    assert content["nnssl_adaptation_plan"]["architecture_plans"] == {
        "arch_class_name": "ResEncL",
        "arch_kwargs": None,
        "arch_kwargs_requiring_import": None,
    }
    assert content["nnssl_adaptation_plan"]["recommended_downstream_patchsize"] == [160, 160, 160]
    source = open_source(target)
    assert source.kind == nnssl.KIND
    again = build_source_network(source, 1, 1)
    again.load_state_dict(dict(source.weights), strict=False)
    patch = torch.randn(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        deepest = [net.get_submodule("encoder")(patch)[-1] for net in (network, again)]
    assert torch.equal(*deepest)
    told = json.loads((tmp_path / "out" / "submission.json").read_text())
    assert told["file"]["sha256"] == checkpoint.sha256_of_file(target)
    assert told["from"]["sha256"] == checkpoint.sha256_of_file(file)
    assert told["pretraining"]["pretext"] == "models-genesis"
    assert told["pretraining"]["cases"] == 1
    assert submit("--checkpoint", target, "--output", tmp_path / "out") == 1, "nothing is replaced"


def problems_of(content: dict[str, Any], file: Path, *, any_patch: bool = False) -> list[str]:
    """What is wrong with a file; its tensors may be on no device."""
    torch.save({"network_weights": {}, **content}, file)
    told = read_safely(file)
    return find_problems(open_source(file), told["network_weights"], told["nnssl_adaptation_plan"], any_patch=any_patch)


def test_another_network_is_refused_with_all_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    architecture = describe((4, 8, 16), residual=True)
    weights = build_network(architecture, 2, 2).state_dict()
    content = content_of(weights, architecture, (32, 32, 32))
    content["nnssl_adaptation_plan"] |= {
        "key_to_stem": "stem",
        "pretrain_num_input_channels": 2,
        "keys_to_in_proj": ["x.conv"],
    }
    file = tmp_path / "small.pth"
    torch.save(content, file)
    assert submit("--checkpoint", file, "--output", tmp_path / "out") == 1
    message = capsys.readouterr().err
    for problem in (
        "n_stages is 3, and ResEnc-L's 6",
        "features_per_stage is [4, 8, 16], and ResEnc-L's [32, 64, 128, 256, 320, 320]",
        "n_blocks_per_stage is [1, 1, 1], and ResEnc-L's [1, 3, 4, 6, 6, 6]",
        "its first convolution takes 2 channel(s), and it must be 1",
        "pretrain_num_input_channels is 2, and it must be 1",
        "key_to_stem is 'stem', and no tensor is under it",
        "keys_to_in_proj has x.conv, and there is no tensor x.conv.weight",
        "its patches: 32 x 32 x 32, and OpenMind's preset is 160 x 160 x 160",
        "its recommended_downstream_patchsize: 32 x 32 x 32",
        "docs/submission.md",
    ):
        assert problem in message
    assert not (tmp_path / "out").exists()


def test_a_plain_network_and_a_file_without_plan_are_refused(tmp_path: Path) -> None:
    architecture = describe((4, 8))
    weights = build_network(architecture, 1, 1).state_dict()
    found = problems_of(content_of(weights, architecture), tmp_path / "plain.pth")
    assert found == ["its network is a PlainConvUNet, and ResEnc-L is a ResidualEncoderUNet"]
    content = content_of(weights, architecture)
    del content["nnssl_adaptation_plan"]
    torch.save(content, tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match="has no nnssl_adaptation_plan"):
        submit_ssl3d(tmp_path / "bare.pth", tmp_path / "out")


def test_tensors_decide_and_not_what_the_file_says_of_them(tmp_path: Path) -> None:
    """A file may call a small network a ResEnc-L, or lack a part of one."""
    small = build_network(describe((4, 8, 16), residual=True), 1, 1).state_dict()
    found = problems_of(content_of(small, ARCHITECTURE), tmp_path / "small.pth")
    assert len(found) == 1
    assert "tensors of the encoder are missing or of another shape, e.g. encoder.stem.convs.0.conv.weight" in found[0]


def test_other_patches_are_taken_where_the_user_says_so(tmp_path: Path) -> None:
    architecture = deepcopy(ARCHITECTURE)
    small = build_network(describe((4, 8, 16), residual=True), 1, 1).state_dict()
    content = content_of(small, architecture, (96, 160, 160))
    file = tmp_path / "other.pth"
    strict, lenient = problems_of(content, file), problems_of(content, file, any_patch=True)
    assert [problem for problem in strict if problem not in lenient] == [
        "its patches: 96 x 160 x 160, and OpenMind's preset is 160 x 160 x 160 (--any-patch takes it as it is)",
        "its recommended_downstream_patchsize: 96 x 160 x 160, and OpenMind's preset is 160 x 160 x 160"
        " (--any-patch takes it as it is)",
    ]


def test_crops_of_semantic_genesis_are_its_patches(tmp_path: Path) -> None:
    small = build_network(describe((4, 8, 16), residual=True), 1, 1).state_dict()
    content = content_of(small, deepcopy(ARCHITECTURE), (160, 160, 160))
    content["genesis"]["pretext_settings"] = {"crop_size": [64, 80, 64]}
    problems = problems_of(content, tmp_path / "crops.pth")
    assert [problem for problem in problems if "patches" in problem] == [
        "its patches: 64 x 80 x 64, and OpenMind's preset is 160 x 160 x 160 (--any-patch takes it as it is)"
    ]


def test_the_pretraining_of_a_dataset_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for room in ("nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / room / "Dataset999_Test").mkdir(parents=True)
        monkeypatch.setenv(room, str(tmp_path / room))
    monkeypatch.chdir(tmp_path)

    def refusal() -> str:
        assert submit("999") == 1
        return capsys.readouterr().err

    assert "genesis-pretrain-nnunet Dataset999_Test" in refusal()
    architecture = describe((4, 8), residual=True)
    for pretext in ("masked", "models-genesis"):
        folder = tmp_path / "nnUNet_results/Dataset999_Test" / checkpoint.folder_name(pretext, "P", "3d_fullres")
        folder.mkdir()
        torch.save(
            content_of(build_network(architecture, 1, 1).state_dict(), architecture), folder / "checkpoint_final.pth"
        )
        message = refusal()
        assert "several pretrainings" in message if pretext == "models-genesis" else "n_stages is 2" in message


def test_plans_of_the_documents_are_those_of_a_resenc_l(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippet of docs/submission.md, on plans of another network."""
    for room in ("nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(room, str(tmp_path / room))
    folder = tmp_path / "nnUNet_preprocessed" / "Dataset745_OpenMind"
    folder.mkdir(parents=True)
    (folder / "nnUNetResEncUNetLPlans.json").write_text(json.dumps(tiny_plans((8, 16, 16), 1)))
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "MRI"}, "labels": {"background": 0}}))
    text = (Path(__file__).parents[2] / "docs" / "submission.md").read_text()
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], {})
    plans = load_planned_configuration("745", "SSL3DPlans", "3d_fullres", needs_cases=False)
    with torch.device("meta"):
        weights = plans.build_restoration_network().state_dict()
    plain = {name: tensor for name, tensor in weights.items() if not is_alias(name)}
    source = SourceModel("", Path(), plain, plans.architecture, {"patch_size": plans.patch_size})
    assert find_problems(source, weights, nnssl_adaptation_plan(plans), any_patch=False) == []
