"""Pretrained files: their names, what they must tell, and how trainings are pointed at them."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from huggingface_hub import constants

from nnunet_genesis import checkpoint
from nnunet_genesis.benchmark.candidates import Candidate, parse_initialisations
from nnunet_genesis.benchmark.command import training_command
from nnunet_genesis.benchmark.initialisations import examine, pretraining_command, refuse_other_files
from nnunet_genesis.benchmark.planning import Axes, Plan, commit_plan, make_plan
from nnunet_genesis.benchmark.record import read_record
from nnunet_genesis.benchmark.request import Request, resolve_settings
from nnunet_genesis.benchmark.run_folder import RunFolder
from nnunet_genesis.errors import SetupError, TransferError
from nnunet_genesis.planned_networks import list_planned_networks
from nnunet_genesis.scans.voxel_hash import scan_key
from nnunet_genesis.trainers.leaks import REFUSE_VARIABLE, VALIDATION_FOUND, VALIDATION_ONLY
from nnunet_genesis.trainers.pretrained_file import CHECKPOINT_VARIABLE
from tests.benchmark.written import PATTERN, write_planned
from tests.hub_server import Repository, running_hub
from tests.interop.written import write_nnssl
from tests.preprocessed import DATASET
from tests.transfer.networks import build

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_genesis.plans import PlannedConfiguration


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedConfiguration:
    return write_planned(tmp_path, monkeypatch)


def write_weights(file: Path, **genesis: Any) -> Candidate:
    """Weights that fit the plans: a bare state dict, or a pretraining that tells what it saw."""
    (network,) = list_planned_networks(DATASET)
    weights = network.build().state_dict()
    told = {"format_version": checkpoint.FORMAT_VERSION, "pretext": "masked", "dataset": DATASET, **genesis}
    torch.save({"network_weights": weights, "genesis": told} if genesis else weights, file)
    return Candidate("mg", str(file), file)


def look_at(candidate: Candidate, planned: PlannedConfiguration, tmp_path: Path, *, trust: bool = False) -> Any:
    settings = resolve_settings(Request(group_pattern=PATTERN), planned, None, tmp_path, "cpu")
    told = examine(candidate, planned, settings, full=False, trust=trust, exclude_file=tmp_path / "test_cases.txt")
    return settings, told


def test_files_are_called_after_their_folders(tmp_path: Path) -> None:
    files = []
    for folder in ("GenesisPretraining_masked__nnUNetPlans__3d_fullres", "GenesisPretraining_models-genesis__a__b"):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "checkpoint_final.pth")
        files[-1].touch()
    found = parse_initialisations([str(files[0]), f"own={files[1]}", str(files[1])])
    assert [(one.name, one.file) for one in found] == [
        ("masked", files[0]),
        ("own", files[1]),
        ("models-genesis", files[1]),
    ]
    with pytest.raises(SetupError, match="two files have the name a"):
        parse_initialisations([f"a={files[0]}", f"a={files[1]}"])
    with pytest.raises(SetupError, match="two files have the name MG and mg"):  # one folder, for Windows and macOS
        parse_initialisations([f"mg={files[0]}", f"MG={files[1]}"])


def test_a_file_on_the_hub_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_hub() as hub:
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        repository = hub.repositories["ann/liver"] = Repository()
        repository.commit({"checkpoint_final.pth": b"weights", "README.md": b"x"}, "v1")
        (found,) = parse_initialisations(["ann=hf://ann/liver"])
    assert (found.name, found.address, found.file.read_bytes()) == ("ann", "hf://ann/liver", b"weights")


def test_a_file_that_does_not_tell_what_it_saw_is_refused_unless_trusted(
    planned: PlannedConfiguration, tmp_path: Path
) -> None:
    candidate = write_weights(tmp_path / "weights.pth")
    with pytest.raises(SetupError, match="the file does not say which scans were learned from") as raised:
        look_at(candidate, planned, tmp_path)
    assert "--trust-unchecked" in str(raised.value)
    settings, told = look_at(candidate, planned, tmp_path, trust=True)
    assert told["unchecked"]
    assert told["share_of_encoder"] == 1
    assert told["sha256"] == checkpoint.sha256_of_file(candidate.file)
    assert command_variables(settings, planned, told, tmp_path)[REFUSE_VARIABLE] == VALIDATION_FOUND


def test_what_pretraining_saw_decides(planned: PlannedConfiguration, tmp_path: Path) -> None:
    settings = resolve_settings(Request(group_pattern=PATTERN), planned, None, tmp_path, "cpu")
    others = sorted(set(settings.groups) - set(settings.test_cases))
    clean = write_weights(tmp_path / "clean.pth", cases=dict.fromkeys(others, "0"))
    _, told = look_at(clean, planned, tmp_path)
    variables = command_variables(settings, planned, told, tmp_path)
    assert variables[REFUSE_VARIABLE] == VALIDATION_ONLY
    assert variables[CHECKPOINT_VARIABLE] == str(clean.file)
    leaky = write_weights(
        tmp_path / "leaky.pth",
        cases=dict.fromkeys(others, "0"),
        validation_cases=dict.fromkeys(settings.test_cases[:1], "0"),
    )
    with pytest.raises(SetupError, match=f"saw 1 of the 4 cases that are held out: {settings.test_cases[0]}") as raised:
        look_at(leaky, planned, tmp_path, trust=True)
    assert f"--pretext masked --exclude {tmp_path / 'test_cases.txt'}" in str(raised.value)


def test_a_pretraining_of_nnssl_on_the_dataset_has_seen_no_labels(
    planned: PlannedConfiguration, tmp_path: Path
) -> None:
    (network,) = list_planned_networks(DATASET)
    file = tmp_path / "nnssl.pth"
    write_nnssl(file, network.build(), dict(network.architecture))
    content = torch.load(file, weights_only=True)
    content["trainer_name"] = "BaseMAETrainer"
    content["nnssl_adaptation_plan"]["pretrain_plan"]["dataset_name"] = DATASET
    torch.save(content, file)
    candidate = Candidate("mae", str(file), file)
    with pytest.raises(SetupError, match="does not say which scans were learned from"):
        look_at(candidate, planned, tmp_path)
    assert look_at(candidate, planned, tmp_path, trust=True)[1]["method"] == "BaseMAETrainer"


@pytest.mark.parametrize("damaged", ["imagesTs", "imagesTr"])
def test_an_unreadable_image_counts_only_where_something_is_judged_on_it(
    planned: PlannedConfiguration, tmp_path: Path, damaged: str
) -> None:
    settings = resolve_settings(Request(group_pattern=PATTERN), planned, None, tmp_path, "cpu")
    raw = tmp_path / "nnUNet_raw" / DATASET
    generator = np.random.default_rng(0)
    for part, cases in (("imagesTr", settings.groups), ("imagesTs", ["unlabelled"])):
        (raw / part).mkdir(parents=True)
        for case in cases:
            image = sitk.GetImageFromArray(generator.normal(size=(4, 8, 8)).astype(np.float32))
            sitk.WriteImage(image, str(raw / part / f"{case}_0000.nii.gz"))
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0},
        "file_ending": ".nii.gz",
        "numTraining": 1,
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    file = raw / damaged / f"{'unlabelled' if damaged == 'imagesTs' else settings.test_cases[0]}_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-300])
    seen = scan_key(generator.normal(size=(1, 4, 8, 8)).astype(np.float32))
    source = {"name": "archive", "kind": "pool", "own": False, "num_cases": 1, "chance": 1.0, "num_without_key": 0}
    candidate = write_weights(tmp_path / "mg.pth", cases={"archive/a": "0"}, scans=[seen], sources=[source])
    if damaged == "imagesTr":
        with pytest.raises(SetupError, match=r"1 image\(s\) of imagesTr cannot be read"):
            look_at(candidate, planned, tmp_path)
    else:
        _, told = look_at(candidate, planned, tmp_path)
        assert told["unchecked"] == []
        assert command_variables(settings, planned, told, tmp_path)[REFUSE_VARIABLE] == VALIDATION_ONLY


def test_the_control_is_pointed_at_no_file(
    planned: PlannedConfiguration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "/left/from/before.pth")
    settings = resolve_settings(Request(), planned, None, tmp_path, "cpu")
    plan = make_plan(settings, Axes(labelled=("5",), seeds=(3,)), planned, None)
    (run,) = plan.runs
    command = training_command(run, plan.record, tmp_path, RunFolder(tmp_path / "run"))
    assert CHECKPOINT_VARIABLE not in command.environment()
    assert command.environment()["nnUNet_genesis_seed"] == "3"
    assert command.words == (
        *("nnUNetv2_train", DATASET, "3d_fullres", "0", "-tr", "nnUNetTrainerGenesis_scratch"),
        *("-p", "nnUNetPlans", "-device", "cpu"),
    )


def test_weights_of_another_network_are_refused(planned: PlannedConfiguration, tmp_path: Path) -> None:
    torch.save(build(features=(6, 12)).state_dict(), tmp_path / "other.pth")
    with pytest.raises(TransferError, match="of the encoder of this PlainConvUNet fits the file"):
        look_at(Candidate("mg", "other.pth", tmp_path / "other.pth"), planned, tmp_path, trust=True)


def test_a_schedule_that_loads_decoders_asks_earlier_files_for_theirs(
    planned: PlannedConfiguration, tmp_path: Path
) -> None:
    (network,) = list_planned_networks(DATASET)
    weights = network.build().state_dict()
    file = tmp_path / "encoder.pth"
    torch.save({name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}, file)
    folder = tmp_path / "benchmark"
    settings = resolve_settings(Request(group_pattern=PATTERN), planned, None, folder, "cpu")

    def plan(axes: Axes) -> Plan:
        made = make_plan(settings, axes, planned, read_record(folder))
        return commit_plan(made, axes, folder, planned, trust=True, command="genesis benchmark")

    begun = plan(Axes([Candidate("mg", str(file), file)], labelled=("5",), seeds=(0,)))
    assert "share_of_decoder" not in begun.record.initialisations["mg"]
    with pytest.raises(TransferError, match="the decoder was to be loaded, too"):
        plan(Axes(schedules=("full",)))
    torch.save(weights, tmp_path / "whole.pth")
    plan(Axes([Candidate("whole", "whole.pth", tmp_path / "whole.pth")], schedules=("full",)))


def test_a_name_means_one_file() -> None:
    before = {"mg": {"sha256": "a" * 64, "file": "x"}}
    refuse_other_files(before, {"mg": {"sha256": "a" * 64, "file": "copy of x", "address": "y"}})
    with pytest.raises(SetupError, match="that is the name of another file") as raised:
        refuse_other_files(before, {"mg": {"sha256": "b" * 64, "file": "y", "address": "y"}})
    assert "--initialisation mg-2=y" in str(raised.value)
    with pytest.raises(SetupError, match="this benchmark has the name mg") as raised:
        refuse_other_files(before, {"MG": {"sha256": "a" * 64, "file": "x", "address": "my files/x.pth"}})
    assert "--initialisation MG-2='my files/x.pth'" in str(raised.value)


def command_variables(settings: Any, planned: PlannedConfiguration, told: dict[str, Any], tmp_path: Path) -> Any:
    """The variables of a pretrained run."""
    candidate = Candidate("mg", told["address"], tmp_path)
    plan = make_plan(settings, Axes([candidate], labelled=("5",), seeds=(0,)), planned, None)
    plan.record.initialisations["mg"] = told
    run = next(run for run in plan.runs if run.key.initialisation == "mg")
    return training_command(run, plan.record, tmp_path, RunFolder(tmp_path / "run")).variables


def test_the_pretraining_command_holds_for_a_folder_with_a_space(planned: PlannedConfiguration, tmp_path: Path) -> None:
    exclude_file = tmp_path / "my results" / "test_cases.txt"
    words = shlex.split(pretraining_command(planned, exclude_file, "masked"))
    assert words[words.index("--exclude") + 1] == str(exclude_file)
    assert words[words.index("--output") + 1] == str(exclude_file.with_name("pretraining_masked"))
