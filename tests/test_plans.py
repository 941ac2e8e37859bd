"""The view of dataset, plans and configuration, and what is said when one of them is missing."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nnunet_genesis.errors import SetupError
from nnunet_genesis.planned_networks import list_planned_networks
from nnunet_genesis.plans import list_cases, load_planned_configuration
from tests.preprocessed import DATASET, smooth_cases, tiny_plans, write_dataset

if TYPE_CHECKING:
    from pathlib import Path

PATCH = (8, 16, 16)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_dataset(tmp_path, smooth_cases(10, (8, 16, 16), channels=4), PATCH, monkeypatch)


def test_view_holds_what_the_plans_say(dataset: Path) -> None:
    planned = load_planned_configuration("777")
    assert planned == load_planned_configuration(DATASET)
    assert planned.patch_size == PATCH
    assert planned.batch_size == 2
    assert planned.channel_names == ("channel 0", "channel 1", "channel 2", "channel 3")
    assert planned.cases_folder == dataset / "nnUNetPlans_cases"
    assert list_cases(planned.cases_folder) == [f"case_{number:03d}" for number in range(10)]


def test_restoration_network_has_as_many_outputs_as_inputs(dataset: Path) -> None:
    assert dataset.is_dir()
    network = load_planned_configuration("777").build_restoration_network()
    output = network(torch.rand(2, 4, *PATCH))
    assert output.shape == (2, 4, *PATCH)
    assert output.min() < 0 < output.max()  # linear output


def test_channels_are_ordered_by_number_not_by_text(dataset: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    content["channel_names"] = {str(number): f"c{number}" for number in range(11)}
    (dataset / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(SetupError, match=r"normalization schemes .* with 11 channel"):
        load_planned_configuration("777")
    (dataset / "nnUNetPlans.json").write_text(json.dumps(tiny_plans(PATCH, 11)))
    assert load_planned_configuration("777").channel_names[-1] == "c10"


def test_validation_cases_are_those_that_nnunet_will_choose(dataset: Path) -> None:
    planned = load_planned_configuration("777")
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    expected = generate_crossval_split(list_cases(planned.cases_folder), seed=12345, n_splits=5)[3]["val"]
    assert planned.validation_cases(3) == [str(case) for case in expected]
    assert not (dataset / "splits_final.json").exists()
    (dataset / "splits_final.json").write_text(json.dumps([{"train": ["case_001"], "val": ["case_002"]}]))
    assert planned.validation_cases(0) == ["case_002"]
    with pytest.raises(SetupError, match="--exclude-fold 1: there are 1 folds"):
        planned.validation_cases(1)
    (dataset / "splits_final.json").unlink()
    for case in list_cases(planned.cases_folder)[4:]:
        (planned.cases_folder / f"{case}.b2nd").unlink()
    with pytest.raises(SetupError, match="cannot make 5 folds of 4 cases"):
        planned.validation_cases(0)


def test_every_missing_thing_is_named_with_the_command_that_makes_it(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(*arguments: str) -> str:
        with pytest.raises(SetupError) as raised:
            load_planned_configuration(*arguments)
        return str(raised.value)

    assert "neither a dataset id nor a name" in message("Liver")
    assert "nnUNetv2_plan_and_preprocess -d 5" in message("5")
    assert "Dataset005_Heart was never preprocessed" in message("Dataset005_Heart")
    assert "plans that exist: nnUNetPlans" in message("777", "nnUNetResEncUNetMPlans")
    assert "has no configuration '3d_lowres'; it has: 3d_fullres" in message("777", "nnUNetPlans", "3d_lowres")
    for file in (dataset / "nnUNetPlans_cases").glob("*"):
        file.unlink()
    assert "nnUNetv2_preprocess -d 777 -p nnUNetPlans -c 3d_fullres" in message("777")
    shutil.rmtree(dataset / "nnUNetPlans_cases")
    assert "configuration 3d_fullres is not preprocessed" in message("777")
    (dataset / "nnUNetPlans.json").write_text("{broken")
    assert "cannot be read as JSON" in message("777")
    dataset.with_name("Dataset777_Twice").mkdir()
    assert "several datasets have the id 777" in message("777")
    monkeypatch.delenv("nnUNet_results")
    assert "export nnUNet_results=" in message("777")
    monkeypatch.setenv("nnUNet_preprocessed", "/nowhere")
    assert "nnUNet_preprocessed names no folder" in message("777")


def test_plans_that_were_copied_without_their_name_are_refused(dataset: Path) -> None:
    """nnU-Net would look for the pretraining of nnUNetPlans."""
    file = dataset / "myPlans.json"
    plans = tiny_plans(PATCH, 4)
    file.write_text(json.dumps(plans))
    with pytest.raises(SetupError, match=r"myPlans\.json holds plans_name 'nnUNetPlans', not 'myPlans'") as raised:
        load_planned_configuration("777", "myPlans")
    assert raised.value.where == file
    assert raised.value.mend == f"set plans_name to 'myPlans' in {file}"
    del plans["plans_name"]
    file.write_text(json.dumps(plans))
    with pytest.raises(SetupError, match="holds no plans_name"):
        load_planned_configuration("777", "myPlans")
    file.write_text(json.dumps({**plans, "plans_name": "myPlans"}))
    assert load_planned_configuration("777", "myPlans").plans_name == "myPlans"


def test_files_beside_the_plans_are_in_nobodys_way(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    (dataset / "splits_final_old.json").write_text('[{"train": ["a"], "val": ["b"]}]')
    (dataset / "notes.json").write_text("half of an obj")
    (dataset / "configurations.json").write_text('{"configurations": ["3d_fullres"], "plans_name": "x"}')
    plans = json.loads((dataset / "nnUNetPlans.json").read_text())
    del plans["configurations"]["3d_fullres"]["patch_size"]
    (dataset / "ownPlans.json").write_text(json.dumps(plans))
    (network,) = list_planned_networks("777", "nnUNetPlans")
    assert (network.plans_name, network.configuration) == ("nnUNetPlans", "3d_fullres")
    assert "ownPlans.json is left out: the plans cannot be used: KeyError: 'patch_size'" in caplog.text
    with pytest.raises(SetupError, match="the plans cannot be used: KeyError: 'patch_size'"):
        list_planned_networks("777", "ownPlans")
    with pytest.raises(SetupError, match="is no JSON object but list"):
        list_planned_networks("777", "splits_final_old")


def test_configurations_inherit(dataset: Path) -> None:
    plans = tiny_plans(PATCH, 4)
    configurations = plans["configurations"]
    assert isinstance(configurations, dict)
    configurations["3d_large_batch"] = {"inherits_from": "3d_fullres", "batch_size": 8}
    (dataset / "nnUNetPlans.json").write_text(json.dumps(plans))
    assert load_planned_configuration("777", "nnUNetPlans", "3d_large_batch").batch_size == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strides", [[1, 1, -float("inf")], [1, 2, 2]]),
        ("strides", [[1, 1, 0], [1, 2, 2]]),
        ("strides", [[1, 1, 1], [1, 2]]),
        ("strides", [[1] * 3, [1.5, 2, 2]]),
        ("strides", [1 << 16, 2]),
        ("strides", "12"),
        ("strides", {"0": 1}),
        ("features_per_stage", [4, float("inf")]),
        ("features_per_stage", [4, 10**30]),
        ("features_per_stage", [4, [8]]),
        ("features_per_stage", -8),
        ("features_per_stage", True),
    ],
)
def test_strides_and_features_that_are_none_are_told(dataset: Path, name: str, value: object) -> None:
    plans: dict[str, Any] = tiny_plans(PATCH, 4)
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"][name] = value
    (dataset / "nnUNetPlans.json").write_text(json.dumps(plans))
    planned = load_planned_configuration("777")
    with pytest.raises(SetupError, match=f"has {name.replace('_', ' ')} that are none: ") as raised:
        planned.total_strides() if name == "strides" else planned.deepest_features()
    assert raised.value.where == dataset / "nnUNetPlans.json"
    assert "nnUNetv2_plan_experiment -d 777" in str(raised.value.mend)


def test_one_number_stands_for_all_axes_and_stages(dataset: Path) -> None:
    plans: dict[str, Any] = tiny_plans(PATCH, 4)
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= {"strides": [1, 2], "features_per_stage": 8}
    (dataset / "nnUNetPlans.json").write_text(json.dumps(plans))
    planned = load_planned_configuration("777")
    assert planned.total_strides() == (2, 2, 2)
    assert planned.deepest_features() == 8
