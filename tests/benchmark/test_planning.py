"""What flags and folder make of a benchmark, and what is refused before anything is trained."""

from __future__ import annotations

import hashlib
import json
import pickle
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis.benchmark.candidates import Candidate
from nnunet_genesis.benchmark.planning import Axes, commit_plan, make_plan
from nnunet_genesis.benchmark.record import Record, read_record, write_record
from nnunet_genesis.benchmark.request import Request, resolve_settings
from nnunet_genesis.benchmark.tolerances import parse_tolerances
from nnunet_genesis.benchmark.workspace import find_view, preprocessed_folder
from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.plans import load_planned_configuration
from tests.benchmark.written import CASES, PATTERN, write_planned
from tests.commands import genesis
from tests.preprocessed import DATASET

if TYPE_CHECKING:
    from nnunet_genesis.benchmark.planning import Plan
    from nnunet_genesis.plans import PlannedConfiguration


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedConfiguration:
    return write_planned(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "benchmark"


def plan(planned: PlannedConfiguration, folder: Path, axes: Axes, request: Request) -> Plan:
    """Plan and keep, as one call of the command does before it trains."""
    before = read_record(folder)
    settings = resolve_settings(request, planned, None if before is None else before.settings, folder, "cpu")
    made = make_plan(settings, axes, planned, before)
    return commit_plan(made, axes, folder, planned, trust=False, command="genesis benchmark")


GROUPED = Request(group_pattern=PATTERN, epochs=4)
FEW = Axes(labelled=("2", "5"), seeds=(0, 1))


def test_the_record_is_read_as_it_was_written(planned: PlannedConfiguration, folder: Path) -> None:
    made = plan(planned, folder, FEW, GROUPED)
    assert read_record(folder) == made.record
    assert len(made.runs) == 4


def test_a_schedule_that_loads_the_decoder_is_kept_although_its_control_has_another(
    planned: PlannedConfiguration, folder: Path
) -> None:
    plan(planned, folder, Axes(labelled=("2",), schedules=("full_warmup",), seeds=(0,)), GROUPED)
    before = read_record(folder)
    assert before is not None
    assert [run.key.schedule for run in before.runs.values()] == ["warmup"]
    later = Axes(initialisations=[Candidate("mg", "mg.pth", folder / "mg.pth")])
    made = make_plan(before.settings, later, planned, before)
    assert {run.key.initialisation: run.key.schedule for run in made.runs} == {"scratch": "warmup", "mg": "full_warmup"}


def test_folds_are_the_subsets_and_the_users_own_are_not_touched(planned: PlannedConfiguration, folder: Path) -> None:
    own = planned.dataset_folder / "splits_final.json"
    own.write_text('[{"train": [], "val": ["the user\'s"]}]')
    made = plan(planned, folder, FEW, GROUPED)
    assert own.read_text() == '[{"train": [], "val": ["the user\'s"]}]'
    view = find_view(folder, DATASET)
    splits = json.loads((view / "splits_final.json").read_text())
    assert [len(split["train"]) for split in splits] == [2, 6]  # whole patients, of two cases each
    assert [split["val"] for split in splits] == [list(made.record.settings.test_cases)] * 2
    for split in splits:
        train, test = ({case.rsplit("_", 1)[0] for case in split[side]} for side in ("train", "val"))
        assert train.isdisjoint(test)
    assert (view / "gt_segmentations").readlink() == planned.dataset_folder / "gt_segmentations"
    assert (view / planned.cases_folder.name).readlink() == planned.cases_folder
    assert "--labelled 5: 6 cases, because groups are not divided" in made.notes


def test_a_job_with_the_data_elsewhere_leaves_the_views_of_others_alone(
    planned: PlannedConfiguration, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs of a cluster copy the dataset to disks of their nodes; the first one is still training."""
    plan(planned, folder, FEW, GROUPED)
    there = tmp_path / "other_node"
    shutil.copytree(planned.dataset_folder.parent, there / "nnUNet_preprocessed")
    monkeypatch.setenv("nnUNet_preprocessed", str(there / "nnUNet_preprocessed"))
    elsewhere = load_planned_configuration(DATASET)
    assert elsewhere.dataset_folder != planned.dataset_folder
    plan(elsewhere, folder, Axes(seeds=(5,)), Request())
    views = [preprocessed_folder(folder, one.dataset_folder) / DATASET for one in (planned, elsewhere)]
    for view, one in zip(views, (planned, elsewhere), strict=True):
        assert (view / "gt_segmentations").readlink() == one.dataset_folder / "gt_segmentations"
    splits = [(view / "splits_final.json").read_text() for view in views]
    assert splits[0] == splits[1]
    shutil.rmtree(there)
    assert find_view(folder, DATASET) == views[0], "the one whose links lead somewhere"
    shutil.rmtree(planned.dataset_folder)
    with pytest.raises(FileNotFoundError, match="has it been moved"):
        find_view(folder, DATASET)


def test_a_benchmark_grows_and_keeps_its_folds(planned: PlannedConfiguration, folder: Path) -> None:
    first = plan(planned, folder, FEW, GROUPED)
    more = plan(planned, folder, Axes(labelled=("4", "all"), schedules=("warmup",), seeds=(2,)), Request())
    assert [run.identifier for run in more.runs] == ["scratch__4__warmup__seed2", "scratch__16__warmup__seed2"]
    assert more.record.subsets[: len(first.record.subsets)] == first.record.subsets
    assert set(first.record.runs) < set(more.record.runs)
    again = plan(planned, folder, Axes(), Request())
    assert [run.identifier for run in again.runs] == list(more.record.runs)
    crossed = plan(planned, folder, Axes(seeds=(7,)), Request())
    assert len(crossed.runs) == 4 * 2  # all numbers of labels and both schedules, with the new seed
    assert len(crossed.record.provenance["invocations"]) == 4


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request(epochs=5), "epochs: 4 -> 5"),
        (Request(iterations=3), "iterations: None -> 3"),
        (Request(device="cuda"), "device: cpu -> cuda"),
        (Request(cpu_bf16=True), "cpu_autocast: None -> bfloat16"),
        (Request(subset_seed=1), r"test_cases: 4 -> 4 cases; no longer: patient_\d\d"),
        (Request(test_share=0.4), r"test_cases: 4 -> 8 cases; no longer: none; new: patient_\d\d"),
        (Request(subset_draws="per-seed"), "subset_draws: fixed -> per-seed"),
        (Request(group_pattern="(left|right)$"), "groups: differ for patient_00_left"),
        (Request(tolerances=("3",)), "tolerances_mm: "),
    ],
)
def test_other_settings_are_refused_with_both_values(
    planned: PlannedConfiguration, folder: Path, request_: Request, told: str
) -> None:
    plan(planned, folder, FEW, GROUPED)
    before = (folder / "benchmark.json").read_bytes()
    with pytest.raises(SetupError, match=told) as raised:
        plan(planned, folder, FEW, request_)
    assert "another benchmark with --name" in str(raised.value)
    assert (folder / "benchmark.json").read_bytes() == before


def test_other_plans_under_the_same_name_are_refused(planned: PlannedConfiguration, folder: Path) -> None:
    plan(planned, folder, FEW, GROUPED)
    file = planned.dataset_folder / "nnUNetPlans.json"
    file.write_text(file.read_text().replace('"batch_size": 2', '"batch_size": 3'))

    with pytest.raises(SetupError, match="plans_sha256: ") as raised:
        plan(load_planned_configuration(DATASET), folder, FEW, Request())
    assert "put nnUNetPlans.json of before back" in str(raised.value)


def test_a_further_configuration_makes_no_other_plans(planned: PlannedConfiguration, folder: Path) -> None:
    plan(planned, folder, FEW, GROUPED)
    file = planned.dataset_folder / "nnUNetPlans.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_bs4"] = {"inherits_from": "3d_fullres", "batch_size": 4}
    file.write_text(json.dumps(plans))
    assert len(plan(load_planned_configuration(DATASET), folder, FEW, Request()).record.runs) == 4


def test_a_benchmark_of_an_earlier_version_goes_on_with_its_plans(planned: PlannedConfiguration, folder: Path) -> None:
    record = plan(planned, folder, FEW, GROUPED).record
    plans = planned.plans
    told = [plans["configurations"], plans.get("foreground_intensity_properties_per_channel"), planned.configuration]
    earlier = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    assert earlier != record.settings.plans_sha256
    record.settings = replace(record.settings, plans_sha256=earlier)
    write_record(record, folder)
    assert plan(planned, folder, FEW, Request()).record.settings.plans_sha256 == earlier


def test_a_job_alone_begins_no_benchmark_of_its_own(
    planned: PlannedConfiguration, capsys: pytest.CaptureFixture[str]
) -> None:
    assert genesis("benchmark", planned.dataset_name, "--job", "2/2") == 1
    errors = capsys.readouterr().err
    assert "--job 2/2: there is no benchmark yet" in errors
    assert "the same flags as the others" in errors


def test_the_same_flags_again_are_no_other_settings(planned: PlannedConfiguration, folder: Path) -> None:
    plan(planned, folder, FEW, GROUPED)
    assert len(plan(planned, folder, FEW, GROUPED).record.runs) == 4


def test_a_class_that_no_labelled_case_has_is_told(planned: PlannedConfiguration, folder: Path) -> None:
    told = "has the class target, and nothing can learn them"
    for case in CASES:
        file = planned.cases_folder / f"{case}.pkl"
        file.write_bytes(pickle.dumps({"class_locations": {1: []}}))
    few, everything = Axes(labelled=("2",), seeds=(0,)), Axes(labelled=("all",), seeds=(0,))
    made = plan(planned, folder, few, GROUPED)
    assert any(told in note and "subset of 2 (fold 0)" in note for note in made.notes)
    other = sorted(set(CASES) - set(made.record.settings.test_cases) - set(made.record.subsets[0].cases))[0]
    (planned.cases_folder / f"{other}.pkl").write_bytes(pickle.dumps({"class_locations": {1: [[0, 0, 0, 0]]}}))
    assert not any(told in note for note in plan(planned, folder, everything, Request()).notes)
    assert any(told in note for note in plan(planned, folder, few, Request()).notes)
    (planned.cases_folder / f"{other}.pkl").unlink()
    for case in made.record.subsets[0].cases:
        (planned.cases_folder / f"{case}.pkl").write_bytes(pickle.dumps({}))
    assert not any(told in note for note in plan(planned, folder, few, Request()).notes)  # nothing is known


def test_draws_per_seed(planned: PlannedConfiguration, folder: Path) -> None:
    request = Request(group_pattern=PATTERN, subset_draws="per-seed")
    made = plan(planned, folder, Axes(labelled=("5",), seeds=(0, 1, 2)), request)
    assert [(subset.draw, subset.labelled, len(subset.cases)) for subset in made.record.subsets] == [
        (0, 5, 6),
        (1, 5, 6),
        (2, 5, 6),
    ]
    assert len({subset.cases for subset in made.record.subsets}) > 1
    assert [run.fold for run in made.runs] == [0, 1, 2]


def test_test_cases_by_file_and_by_fold(planned: PlannedConfiguration, folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"# by hand\n{CASES[0]}\n{CASES[3]}\n")
    request = Request(test_cases_file=listed, group_pattern=PATTERN)
    settings = resolve_settings(request, planned, None, folder, "cpu")
    assert settings.test_cases == (CASES[0], CASES[3])
    assert set(settings.left_out) == {CASES[1], CASES[2]}  # the other side of the same patients
    (planned.dataset_folder / "splits_final.json").write_text(json.dumps([{"train": [], "val": CASES[4:8]}]))
    assert resolve_settings(Request(test_fold=0), planned, None, folder, "cpu").test_cases == tuple(sorted(CASES[4:8]))
    with pytest.raises(SetupError, match="--test-fold 1: there are 1 folds"):
        resolve_settings(Request(test_fold=1), planned, None, folder, "cpu")
    listed.write_text("patient_99_left\n")
    with pytest.raises(SetupError, match=r"1 test case.s. are not preprocessed, the first is patient_99_left"):
        resolve_settings(request, planned, None, folder, "cpu")


def test_a_test_case_without_reference_is_refused(planned: PlannedConfiguration, folder: Path) -> None:
    for file in (planned.dataset_folder / "gt_segmentations").iterdir():
        file.unlink()
    with pytest.raises(SetupError, match="have no reference segmentation"):
        resolve_settings(Request(), planned, None, folder, "cpu")


def test_half_precision_is_for_cpus(planned: PlannedConfiguration, folder: Path) -> None:
    with pytest.raises(SetupError, match="--cpu-bf16 with -device cuda"):
        resolve_settings(Request(device="cuda", cpu_bf16=True), planned, None, folder, "cpu")


def test_tolerances() -> None:
    before = {"liver": 1.0, "tumour": 1.0}
    assert parse_tolerances(["2", "tumour=0.5"], before) == {"liver": 2.0, "tumour": 0.5}
    assert parse_tolerances([], before) == before
    for wrong, told in (
        ("kidney=1", "no class 'kidney'; there are: liver, tumour"),
        ("liver=-1", "positive number"),
        ("x", "positive number"),
        ("inf", "positive number"),
    ):
        with pytest.raises(SetupError, match=told):
            parse_tolerances([wrong], before)


def test_a_record_of_another_version_or_half_of_one_is_no_record(planned: PlannedConfiguration, folder: Path) -> None:
    made = plan(planned, folder, FEW, GROUPED)
    file = folder / "benchmark.json"
    whole = file.read_text()
    file.write_text(whole.replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(DataError, match="format version 9 is unknown"):
        read_record(folder)
    file.write_text(whole[:200])
    with pytest.raises(DataError, match="cannot be read"):
        read_record(folder)
    write_record(made.record, folder)
    assert isinstance(read_record(folder), Record)


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code, captured = genesis("benchmark", DATASET, *arguments), capsys.readouterr()
    return code, captured.out + captured.err


def write_log(results_folder: Path, model: str, *lines: str) -> None:
    fold = results_folder / model / "fold_0"
    fold.mkdir(parents=True)
    (fold / "training_log_2026_1_1.txt").write_text("\n".join(lines) + "\n")


def test_a_dry_run_tells_the_time_by_earlier_trainings_with_these_plans(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dry = ("--dry-run", "--output", str(folder), "--group-pattern", PATTERN, "--labelled", "2", "--seeds", "0")
    slow = ("Epoch 0", "2026-11-23: Epoch time: 900.0 s", "Epoch time: 600.0 s", "Epoch time: 600.0 s")
    write_log(planned.results_folder, "nnUNetTrainer__nnUNetPlans__2d", "Epoch time: 1.0 s")
    assert "expected time of a run: unknown" in run_command(capsys, *dry, "--epochs", "4")[1]
    write_log(planned.results_folder, "nnUNetTrainer__nnUNetPlans__3d_fullres", *slow)
    assert "expected time of a run: 40 min and its predictions" in run_command(capsys, *dry, "--epochs", "4")[1]
    assert (
        "expected time of a run: 8 min and its" in run_command(capsys, *dry, "--epochs", "4", "--iterations", "50")[1]
    )
    plan(planned, folder, Axes(labelled=("2",), seeds=(0,)), replace(GROUPED, iterations=50))
    begun = folder / "runs" / "scratch__2__standard__seed0" / "nnUNet_results" / DATASET
    write_log(begun, "nnUNetTrainerGenesis_scratch_4epochs_50iters__nnUNetPlans__3d_fullres", "Epoch time: 30.0 s")
    told = run_command(capsys, "--dry-run", "--output", str(folder))[1]
    assert "expected time of a run: 2 min and its predictions, by nnU-Net's logs" in told
    assert "one after the other: 2 min" in told


def test_a_dry_run_needs_no_checkpoint_and_lists_the_test_cases(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = run_command(
        capsys, "--dry-run", "--output", str(folder), "--group-pattern", PATTERN, "--labelled", "2", "5", "--seeds", "0"
    )
    assert code == 0
    assert "scratch__6__standard__seed0  pending      -tr nnUNetTrainerGenesis_scratch" in output
    assert "expected time of a run: unknown until nnU-Net has trained an epoch with these plans" in output
    assert f"--exclude {folder / 'test_cases.txt'}" in output
    lines = [line for line in (folder / "test_cases.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 4
    assert set(lines) < set(CASES)
    assert sorted(file.name for file in folder.iterdir()) == [".lock", "test_cases.txt"]
    assert planned.dataset_name in output


def test_flags_that_are_given_twice_add_up(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = ("--labelled", "2", "--schedules", "standard", "--seeds", "0")
    more = ("--labelled", "5", "--schedules", "warmup", "--seeds", "1", "0")
    flags = ("--dry-run", "--output", str(folder), "--epochs", "40")
    for _ in range(2):  # what one call is told is no default of the next
        code, output = run_command(capsys, *flags, *axes, *more)
        assert code == 0, output
        assert "8 runs: 8 pending" in output
    assert "1 runs: 1 pending" in run_command(capsys, *flags, *axes)[1]
    assert planned.dataset_folder.is_dir()


def test_a_class_that_is_named_like_the_mean_of_all_is_refused(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = planned.dataset_folder / "dataset.json"
    description = json.loads(file.read_text())
    description["labels"] = {"background": 0, "mean of classes": 1, "other": 2}
    file.write_text(json.dumps(description))
    code, output = run_command(capsys, "--output", str(folder), "--labelled", "2", "--seeds", "0")
    assert code == 1
    assert "a class has the name 'mean of classes'" in output
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--initialisation", "scratch=x.pth"), "that is the name of the control"),
        (("--initialisation", "Scratch=x.pth"), "Scratch=...: that is the name of the control"),
        (("--initialisation", "a/b=x.pth"), "'a/b' cannot be a name"),
        (("--initialisation", "mg=x.pth"), "no such checkpoint"),
        (("--labelled", "17"), "--labelled 17: only 16 cases are left"),
        (("--seeds", "-1"), "a seed must not be negative"),
        (("--epochs", "0"), "--epochs 0: must be at least 1"),
        (("--schedules", "gentle"), "a schedule is one of"),
        (("--job", "3/2"), "this is no job i of n"),
        (("--group-pattern", "(zebra)"), "finds no group in 20 of 20 names"),
        (("--group-pattern", "patient"), "captures nothing"),
        (("--group-pattern", "("), "is no regular expression"),
        (("--name", "a"), "--name and --output both say where"),
        (("-c", "3d_cascade"), "has no configuration '3d_cascade'"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    planned: PlannedConfiguration,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    told: str,
) -> None:
    assert planned.dataset_folder.is_dir()
    code, output = run_command(capsys, "--output", str(folder), "-device", "cpu", *arguments)
    assert code == 1
    assert told in output
    assert not folder.exists()


def test_a_folder_with_other_things_in_it_is_left_alone(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    code, output = run_command(capsys, "--output", str(folder), "--dry-run")
    assert (code, [file.name for file in folder.iterdir()]) == (1, ["thesis.tex"])
    assert "is not empty" in output
    assert planned.dataset_folder.is_dir()


def test_the_pretraining_that_the_dry_run_asks_for_may_lie_in_the_folder(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--output", str(folder), "--labelled", "5", "--seeds", "0")
    code, output = run_command(capsys, *flags, "--dry-run")
    assert code == 0
    words = shlex.split(next(line for line in output.splitlines() if "genesis-pretrain-nnunet" in line))
    Path(words[words.index("--output") + 1]).mkdir()
    code, output = run_command(capsys, *flags, "--dry-run")
    assert code == 0, output
    assert planned.dataset_folder.is_dir()


@pytest.mark.parametrize("left", [".test_cases.txt.4711.tmp", ".benchmark.json.4711.tmp"])
def test_what_another_job_is_writing_does_not_make_the_folder_somebody_elses(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str], left: str
) -> None:
    folder.mkdir()
    (folder / left).write_text("half of it")
    code, output = run_command(capsys, "--output", str(folder), "--dry-run", "--labelled", "5", "--seeds", "0")
    assert code == 0, output
    assert planned.dataset_folder.is_dir()


def test_a_command_that_is_killed_before_its_links_are_made_can_be_typed_again(
    planned: PlannedConfiguration, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def is_killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("nnunet_genesis.benchmark.planning.make_workspace", is_killed)
        with pytest.raises(KeyboardInterrupt):
            plan(planned, folder, FEW, GROUPED)
    code, output = run_command(capsys, "--output", str(folder), "--dry-run")
    assert code == 0, output
    plan(planned, folder, FEW, Request())
    assert (find_view(folder, DATASET) / "splits_final.json").is_file()


def test_a_report_of_nothing_is_refused(
    planned: PlannedConfiguration, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = run_command(capsys, "--output", str(folder), "--report-only")
    assert code == 1
    assert "there is no benchmark here" in output
    assert planned.dataset_folder.is_dir()
