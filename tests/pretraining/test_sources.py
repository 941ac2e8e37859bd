"""What pretraining learns from: several sources, nothing twice, nothing that is excluded, under any name."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_genesis.config import SOURCE_WEIGHTS, PretrainingConfig, UniversalModelConfig
from nnunet_genesis.errors import DataError, SetupError
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining.exclusion_list import resolve_exclusions
from nnunet_genesis.pretraining.single_channel import single_channel_plans
from nnunet_genesis.pretraining.source_folders import find_source_folders, resolve_dataset_name
from nnunet_genesis.pretraining.sources import Source, open_sources, weigh
from tests.pools import write_pool
from tests.preprocessed import DATASET, smooth_cases, write_case, write_dataset

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_genesis.plans import PlannedConfiguration

SHAPE = (4, 12, 10)
CASES = smooth_cases(20, SHAPE)
OTHERS = {f"scan_{number:02d}": image for number, image in enumerate(smooth_cases(5, SHAPE, seed=1).values())}


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_dataset(tmp_path, CASES, (4, 8, 8), monkeypatch)


def open_all(planned: PlannedConfiguration | None = None, **settings: object) -> list[Source]:
    config = PretrainingConfig(pretext="models-genesis", batch_size=2, **settings)  # type: ignore[arg-type]
    planned = planned or load_planned_configuration("777", needs_cases=config.labelled)
    return open_sources(planned, config, find_source_folders(planned, config), workers=1, show_progress=False)


def names(source: Source) -> list[str]:
    return sorted([*source.train.identifiers.tolist(), *source.validation.identifiers.tolist()])


def write_splits(dataset: Path, *cases: str) -> None:
    (dataset / "splits_final.json").write_text(json.dumps([{"train": [], "val": list(cases)}]))


def write_raw(dataset: Path, cases: dict[str, npt.NDArray[np.float32]]) -> None:
    """Raw images whose voxels are not those that were preprocessed, as with any real resampling."""
    folder = dataset.parents[1] / "nnUNet_raw" / DATASET
    (folder / "imagesTr").mkdir(parents=True)
    shutil.copy(dataset / "dataset.json", folder)
    for case, image in cases.items():
        for number, channel in enumerate(image):
            sitk.WriteImage(sitk.GetImageFromArray(channel), str(folder / "imagesTr" / f"{case}_{number:04d}.nii.gz"))


def test_every_case_is_on_one_side_and_the_seed_decides(dataset: Path) -> None:
    assert dataset.is_dir()
    (first,) = open_all(val_fraction=0.2)
    assert len(first.validation) == 4
    assert names(first) == sorted(CASES)
    assert first.chance == 1
    assert open_all(val_fraction=0.2)[0].validation.identifiers.tolist() == first.validation.identifiers.tolist()
    assert (
        open_all(val_fraction=0.2, seed=1)[0].validation.identifiers.tolist() != first.validation.identifiers.tolist()
    )


def test_a_pool_beside_them_does_not_change_the_split_of_the_labelled_cases(dataset: Path) -> None:
    assert dataset.is_dir()
    (alone,) = open_all()
    write_pool(load_planned_configuration("777"), "mr", OTHERS)
    labelled, pool = open_all(pools=("mr",))
    assert labelled.validation.identifiers.tolist() == alone.validation.identifiers.tolist()
    assert (pool.name, pool.kind, names(pool)) == ("mr", "pool", sorted(OTHERS))
    assert len(pool.validation) == 1


@pytest.mark.parametrize(
    ("rule", "weights"), [("sqrt", (math.sqrt(18), 2)), ("uniform", (1, 1)), ("proportional", (18, 4))]
)
def test_sources_are_weighed_by_their_training_cases(dataset: Path, rule: str, weights: tuple[float, float]) -> None:
    assert dataset.is_dir()
    write_pool(load_planned_configuration("777"), "mr", OTHERS)
    sources = open_all(pools=("mr",), source_weights=rule)
    assert [source.chance for source in sources] == pytest.approx([weight / sum(weights) for weight in weights])


def test_modalities_of_whole_sources_are_weighed_alike() -> None:
    assert weigh("modality", [16, 4, 9], ["CT", "CT", "T1"]) == pytest.approx([1 / 3, 1 / 6, 1 / 2])
    assert weigh("modality", [9, 9], ["T1+T2", "T1"]) == [0.5, 0.5], "T1 is in three quarters of single channels"


def test_excluded_fold_is_nowhere(dataset: Path) -> None:
    held_out = ("case_003", "case_007")
    write_splits(dataset, *held_out)
    (source,) = open_all(exclude_fold=0)
    assert source.excluded == held_out
    assert names(source) == sorted(set(CASES) - set(held_out))


def test_excluded_scans_are_found_under_other_names_by_their_raw_voxels(dataset: Path) -> None:
    """The pool's scan is the validation case turned around; its preprocessed voxels differ."""
    write_raw(dataset, {case: image * 7 for case, image in CASES.items()})
    write_splits(dataset, "case_003")
    planned = load_planned_configuration("777")
    turned = np.ascontiguousarray(CASES["case_003"][:, :, ::-1] * 7)
    write_pool(planned, "archive", {**OTHERS, "patient_9": turned, "repeated": CASES["case_004"] * 7})
    labelled, pool = open_all(pools=("archive",), exclude_fold=0)
    assert pool.excluded == ("patient_9",)
    assert pool.repeated == ("repeated",)
    assert names(pool) == sorted(OTHERS)
    assert labelled.excluded == ("case_003",)
    assert "1 excluded, 1 repeated" in pool.describe()


@pytest.mark.parametrize("single_channel", [False, True])
def test_excluded_scans_are_found_by_any_of_their_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, single_channel: bool
) -> None:
    """Channels in another order, beside another one, or without; empty channels are equal in many patients."""
    cases = smooth_cases(8, SHAPE, channels=2)
    dataset = write_dataset(tmp_path, cases, (4, 8, 8), monkeypatch)
    for number in (3, 4, 5):
        cases[f"case_{number:03d}"][1] = 0
    write_raw(dataset, cases)
    write_splits(dataset, "case_002", "case_003")
    others = smooth_cases(4, SHAPE, channels=2, seed=5)
    (tissue, contrast), (without_contrast, empty) = cases["case_002"], cases["case_003"]
    others["case_000"][1] = empty
    scans = {
        "swapped": np.stack([contrast, tissue]),
        "another_beside": np.stack([others["case_001"][1], contrast]),
        "empty_before": np.stack([empty, without_contrast]),
        **others,
    }
    write_pool(load_planned_configuration("777"), "archive", scans)
    labelled, pool = open_all(pools=("archive",), exclude_fold=0, single_channel=single_channel)
    assert pool.excluded == ("another_beside", "empty_before", "swapped")
    assert names(pool) == sorted(others)
    assert labelled.excluded == ("case_002", "case_003")
    assert names(labelled) == sorted(cases.keys() - {"case_002", "case_003"})


def test_a_channel_that_two_scans_share_makes_them_no_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = smooth_cases(4, SHAPE, channels=2)
    write_raw(write_dataset(tmp_path, cases, (4, 8, 8), monkeypatch), cases)
    swapped = {f"swapped_{name}": image[::-1].copy() for name, image in cases.items()}
    write_pool(load_planned_configuration("777"), "archive", swapped)
    _, pool = open_all(pools=("archive",))
    assert (pool.repeated, pool.excluded, names(pool)) == ((), (), sorted(swapped))


def test_without_raw_images_preprocessed_voxels_are_compared_and_it_is_said(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_splits(dataset, "case_003")
    write_pool(load_planned_configuration("777"), "archive", {**OTHERS, "patient_9": CASES["case_003"]})
    _, pool = open_all(pools=("archive",), exclude_fold=0)
    assert pool.excluded == ("patient_9",)
    assert f"the raw images of {len(CASES)} of {len(CASES)} cases cannot be compared" in caplog.text


def test_one_missing_raw_image_hides_no_other_scan(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_raw(dataset, {case: image * 7 for case, image in CASES.items() if case != "case_001"})
    write_splits(dataset, "case_003")
    turned = np.ascontiguousarray(CASES["case_003"][:, :, ::-1] * 7)
    repeated = CASES["case_004"] * 7
    write_pool(load_planned_configuration("777"), "archive", {**OTHERS, "patient_9": turned, "repeated": repeated})
    _, pool = open_all(pools=("archive",), exclude_fold=0)
    assert (pool.excluded, pool.repeated) == (("patient_9",), ("repeated",))
    assert (
        f"the raw images of 1 of {len(CASES)} cases cannot be compared (the first is case_001: there is" in caplog.text
    )


def test_validation_cases_stay_out_of_pools_where_labelled_cases_are_not_used(dataset: Path) -> None:
    write_raw(dataset, CASES)
    write_splits(dataset, "case_003")
    write_pool(load_planned_configuration("777"), "archive", {**OTHERS, "patient_9": CASES["case_003"]})
    (pool,) = open_all(pools=("archive",), exclude_fold=0, labelled=False)
    assert pool.excluded == ("patient_9",)
    # The same where nothing of the dataset was ever preprocessed: the raw images alone tell.
    shutil.rmtree(dataset / "nnUNetPlans_cases")
    (pool,) = open_all(pools=("archive",), exclude_fold=0, labelled=False)
    assert pool.excluded == ("patient_9",)


def test_the_same_scan_in_two_pools_is_kept_once_in_the_first(dataset: Path) -> None:
    planned = load_planned_configuration(dataset.name)
    write_pool(planned, "first", OTHERS)
    write_pool(planned, "second", {"same": OTHERS["scan_02"], **smooth_cases(2, SHAPE, seed=3)})
    _, first, second = open_all(pools=("first", "second"))
    assert (first.repeated, second.repeated) == ((), ("same",))


@pytest.mark.parametrize("order", [("single", "both"), ("both", "single")])
def test_a_channel_and_its_scan_are_one_whichever_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    write_dataset(tmp_path, smooth_cases(4, SHAPE, channels=2), (4, 8, 8), monkeypatch)
    planned = load_planned_configuration("777")
    scans = smooth_cases(3, SHAPE, channels=2, seed=5)
    write_pool(planned, "both", scans)
    write_pool(single_channel_plans(planned), "single", {name: image[1:] for name, image in scans.items()})
    _, first, *others = open_all(pools=order, single_channel=True)
    assert len(names(first)) == 3
    assert not others, "nothing is left of the second pool"


def test_cases_can_be_excluded_by_name(dataset: Path) -> None:
    write_pool(load_planned_configuration(dataset.name), "mr", OTHERS)
    labelled, pool = open_all(pools=("mr",), exclude=("case_001", "mr/scan_03"))
    assert labelled.excluded == ("case_001",)
    assert pool.excluded == ("scan_03",)
    with pytest.raises(SetupError, match=r"1 case\(s\) to exclude are not preprocessed, the first is case_1"):
        open_all(exclude=("case_1",))


def test_a_scan_of_a_pool_that_is_not_learned_from_is_excluded_from_the_others(dataset: Path) -> None:
    planned = load_planned_configuration(dataset.name)
    write_pool(planned, "shared", {"test": OTHERS["scan_03"], **smooth_cases(1, SHAPE, seed=4)})
    write_pool(planned, "mr", OTHERS)
    _, pool = open_all(pools=("mr",), exclude=("shared/test",))
    assert pool.excluded == ("scan_03",)
    with pytest.raises(SetupError, match=r"1 case\(s\) to exclude are not preprocessed, the first is shared/gone"):
        open_all(pools=("mr",), exclude=("shared/gone",))


def test_list_of_exclusions_takes_names_raw_cases_and_paths(dataset: Path, tmp_path: Path) -> None:
    raw = {case: image * 7 for case, image in CASES.items()}
    write_raw(dataset, raw)
    planned = load_planned_configuration(dataset.name)
    secret = smooth_cases(2, (30, 32, 34), seed=9)
    write_pool(planned, "mr", {**OTHERS, "test_case": secret["case_000"] * 5, "by_path": secret["case_001"] * 5})
    test_images = dataset.parents[1] / "nnUNet_raw" / DATASET / "imagesTs"
    test_images.mkdir()
    for folder, case, name in ((test_images, "case_000", "t1_0000.nii.gz"), (tmp_path, "case_001", "own.nii.gz")):
        image = sitk.GetImageFromArray(secret[case][0] * 5)
        image.SetSpacing((1.0, 1.0, 3.0))
        sitk.WriteImage(image, str(folder / name))
    listed = tmp_path / "out.txt"
    listed.write_text("  # asked for it\ncase_001\nmr/scan_03\nt1\nown.nii.gz\n")
    entries = resolve_exclusions(planned, listed)
    assert [entry for entry in entries if not entry.startswith("scan:")] == ["case_001", "mr/scan_03"]
    labelled, pool = open_all(pools=("mr",), exclude=entries)
    assert labelled.excluded == ("case_001",)
    assert pool.excluded == ("by_path", "scan_03", "test_case")
    listed.write_text("case_1\n")
    with pytest.raises(SetupError, match=r"line 1 is 'case_1', which is no file, no folder and no case"):
        resolve_exclusions(planned, listed)


def test_everything_that_a_line_of_the_list_can_mean_is_excluded(dataset: Path, tmp_path: Path) -> None:
    write_raw(dataset, {case: image * 7 for case, image in CASES.items()})
    planned = load_planned_configuration(dataset.name)
    secret = [image * 5 for image in smooth_cases(2, (30, 32, 34), seed=9).values()]
    write_pool(planned, "mr", {**OTHERS, "test_case": secret[0], "by_path": secret[1]})
    test_images = dataset.parents[1] / "nnUNet_raw" / DATASET / "imagesTs"
    test_images.mkdir()
    (tmp_path / "case_001").mkdir()
    for file, voxels in zip(
        (test_images / "case_001_0000.nii.gz", tmp_path / "case_001" / "x.nii.gz"), secret, strict=True
    ):
        image = sitk.GetImageFromArray(voxels[0])
        image.SetSpacing((1.0, 1.0, 3.0))
        sitk.WriteImage(image, str(file))
    listed = tmp_path / "out.txt"
    listed.write_text("case_001\n")
    labelled, pool = open_all(pools=("mr",), exclude=resolve_exclusions(planned, listed))
    assert (labelled.excluded, pool.excluded) == (("case_001",), ("by_path", "test_case"))


def test_a_continued_run_keeps_to_its_cases_when_a_pool_grows(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    planned = load_planned_configuration(dataset.name)
    write_pool(planned, "mr", OTHERS)
    config = PretrainingConfig(pretext="models-genesis", batch_size=2, pools=("mr",))
    folders = find_source_folders(planned, config)
    _, before = open_sources(planned, config, folders, workers=1, show_progress=False)
    earlier = {
        "cases": {f"mr/{case}": "" for case in before.train.identifiers} | dict.fromkeys(CASES, ""),
        "validation_cases": {f"mr/{case}": "" for case in before.validation.identifiers},
    }
    grown = {"new_0": smooth_cases(1, SHAPE, seed=7)["case_000"], **OTHERS}
    write_pool(planned, "mr", grown)
    caplog.set_level("INFO", logger="nnunet_genesis")
    _, after = open_sources(planned, config, folders, workers=1, show_progress=False, earlier=earlier)
    assert after.train.identifiers.tolist() == before.train.identifiers.tolist()
    assert after.validation.identifiers.tolist() == before.validation.identifiers.tolist()
    assert "pool mr: 1 new case(s) are not used by a continued run" in caplog.text


@pytest.mark.parametrize("rule", SOURCE_WEIGHTS)
def test_a_continued_run_leaves_a_pool_out_that_had_nothing_when_it_began(dataset: Path, rule: str) -> None:
    planned = load_planned_configuration(dataset.name)
    copies = {f"copy_{number}": image for number, image in enumerate(list(CASES.values())[:3])}
    write_pool(planned, "mr", copies)
    config = PretrainingConfig(pretext="models-genesis", batch_size=2, pools=("mr",), source_weights=rule)
    folders = find_source_folders(planned, config)
    (before,) = open_sources(planned, config, folders, workers=1, show_progress=False)
    earlier = {
        "cases": dict.fromkeys(before.train.identifiers.tolist(), ""),
        "validation_cases": dict.fromkeys(before.validation.identifiers.tolist(), ""),
    }
    write_pool(planned, "mr", {**copies, "new": OTHERS["scan_00"]})
    (after,) = open_sources(planned, config, folders, workers=1, show_progress=False, earlier=earlier)
    assert (names(after), after.chance) == (names(before), 1.0)


@pytest.mark.parametrize("told", [(), ("mr=T1",)])
def test_drawing_by_modality_says_where_a_pools_name_stands_for_it(
    dataset: Path, caplog: pytest.LogCaptureFixture, told: tuple[str, ...]
) -> None:
    planned = load_planned_configuration(dataset.name)
    write_pool(planned, "mr", OTHERS)
    open_all(planned, pools=("mr",), source_weights="modality", universal_model=UniversalModelConfig(modality=told))
    warned = "nothing tells the modality of mr, and each counts as one of its own; --modality mr=CT" in caplog.text
    assert warned == (not told)


def test_a_continued_run_keeps_a_case_that_a_new_one_equals(dataset: Path) -> None:
    """Scans of a pool were labelled since, or their raw images are found now."""
    planned = load_planned_configuration(dataset.name)
    write_pool(planned, "mr", OTHERS)
    config = PretrainingConfig(pretext="models-genesis", batch_size=2, pools=("mr",))
    folders = find_source_folders(planned, config)
    before = open_sources(planned, config, folders, workers=1, show_progress=False)
    earlier: dict[str, dict[str, str]] = {"cases": {}, "validation_cases": {}}
    for source, prefix in zip(before, ("", "mr/"), strict=True):
        earlier["cases"] |= {f"{prefix}{case}": "" for case in source.train.identifiers}
        earlier["validation_cases"] |= {f"{prefix}{case}": "" for case in source.validation.identifiers}
    write_case(planned.cases_folder, "labelled_since", OTHERS["scan_02"])
    labelled, pool = open_sources(planned, config, folders, workers=1, show_progress=False, earlier=earlier)
    assert names(pool) == names(before[1])
    assert pool.repeated == ()
    assert names(labelled) == names(before[0])
    assert labelled.repeated == ("labelled_since",)
    anew, pool = open_sources(planned, config, folders, workers=1, show_progress=False)
    assert "labelled_since" in names(anew)
    assert pool.repeated == ("scan_02",)


def test_one_case_is_held_out_at_least_and_one_is_left_to_learn_from(dataset: Path) -> None:
    assert dataset.is_dir()
    assert len(open_all(val_fraction=0.001)[0].validation) == 1
    assert len(open_all(val_fraction=0.999)[0].train) == 1


def test_a_pool_of_one_scan_is_learned_from_and_not_judged_on(dataset: Path) -> None:
    write_pool(load_planned_configuration(dataset.name), "one", {"scan": OTHERS["scan_00"]})
    _, pool = open_all(pools=("one",))
    assert (len(pool.train), len(pool.validation)) == (1, 0)
    with pytest.raises(SetupError, match=r"1 case\(s\) to pretrain on, at least 2"):
        open_all(pools=("one",), labelled=False)


def test_pools_of_one_scan_each_do_not_do(dataset: Path) -> None:
    planned = load_planned_configuration(dataset.name)
    for number in range(3):
        write_pool(planned, f"pool_{number}", {"scan": OTHERS[f"scan_{number:02d}"]})
    with pytest.raises(SetupError, match=r"3 case\(s\) to pretrain on, but no source has two: one to learn from"):
        open_all(pools=tuple(f"pool_{number}" for number in range(3)), labelled=False)


def test_too_few_cases_are_an_error(dataset: Path) -> None:
    write_splits(dataset, *sorted(CASES)[:19])
    with pytest.raises(SetupError, match=r"1 case\(s\) to pretrain on, at least 2 are needed \(19 are excluded\)"):
        open_all(exclude_fold=0)


def test_no_source_at_all_is_an_error(dataset: Path) -> None:
    assert dataset.is_dir()
    with pytest.raises(SetupError, match="--no-labelled leaves nothing to learn from"):
        open_all(labelled=False)


def test_missing_pool_names_those_that_exist(dataset: Path) -> None:
    write_pool(load_planned_configuration(dataset.name), "mr", OTHERS)
    with pytest.raises(SetupError, match=r"there is no pool 'ct'; pools here: mr") as raised:
        open_all(pools=("ct",))
    assert "genesis preprocess-unlabeled -d Dataset777_Written -c 3d_fullres" in str(raised.value)
    assert "--name ct" in str(raised.value)
    with pytest.raises(SetupError, match=r"genesis preprocess-unlabeled .* --imagesTs$"):
        open_all(pools=("imagesTs",))


def test_pool_of_other_plans_names_what_differs(dataset: Path) -> None:
    write_pool(load_planned_configuration(dataset.name), "mr", OTHERS)
    plans = json.loads((dataset / "nnUNetPlans.json").read_text())
    plans["configurations"]["3d_fullres"]["spacing"] = [2.0, 1.0, 1.0]
    (dataset / "nnUNetPlans.json").write_text(json.dumps(plans))
    with pytest.raises(SetupError, match=r"(?s)pool mr was preprocessed by other plans:.*spacing: \[3.0, 1.0, 1.0\]"):
        open_all(pools=("mr",))


def test_pool_with_a_vanished_file_says_how_to_mend_it(dataset: Path) -> None:
    pool = write_pool(load_planned_configuration(dataset.name), "mr", OTHERS)
    (pool.folder / "scan_03.b2nd").unlink()
    with pytest.raises(DataError, match=r"1 case\(s\) of pool mr have vanished, the first is scan_03"):
        open_all(pools=("mr",))


def other_dataset(dataset: Path, *, spacing: list[float] | None = None) -> Path:
    """A copy of the dataset under another name, with plans of another name as nnUNetv2_move_plans writes them."""
    other = dataset.parent / "Dataset778_Other"
    shutil.copytree(dataset, other)
    plans = json.loads((other / "nnUNetPlans.json").read_text())
    plans |= {"dataset_name": other.name, "plans_name": "nnUNetPlansFrom777"}
    if spacing:
        plans["configurations"]["3d_fullres"]["spacing"] = spacing
    (other / "nnUNetPlans.json").unlink()
    (other / "nnUNetPlansFrom777.json").write_text(json.dumps(plans))
    return other


def test_another_dataset_is_a_source_if_some_plans_of_it_preprocess_alike(dataset: Path) -> None:
    other = other_dataset(dataset)
    # An edited copy that kept its old name is as good: nothing is trained by it.
    shutil.copy(other / "nnUNetPlansFrom777.json", other / "copied.json")
    cases_folder = other / "nnUNetPlans_cases"
    for file in [*cases_folder.glob("case_00*"), *cases_folder.glob("case_01[1-9]*")]:
        file.unlink()
    for case, image in OTHERS.items():
        blosc2.asarray(image, urlpath=str(cases_folder / f"{case}.b2nd"))
    labelled, theirs = open_all(datasets=("Dataset778_Other",))
    assert (theirs.kind, theirs.name) == ("dataset", "Dataset778_Other")
    assert (names(theirs), theirs.repeated) == (sorted(OTHERS), ("case_010",))
    assert names(labelled) == sorted(CASES)


def test_another_dataset_with_other_plans_is_refused_with_the_command_that_mends_it(dataset: Path) -> None:
    other_dataset(dataset, spacing=[5.0, 1.0, 1.0])
    with pytest.raises(SetupError, match=r"(?s)none of its plans preprocess as nnUNetPlans.*spacing: \[5.0") as raised:
        open_all(datasets=("Dataset778_Other",))
    assert "genesis preprocess-unlabeled -d Dataset777_Written" in str(raised.value)
    assert "--datasets Dataset778_Other" in str(raised.value)


@pytest.mark.parametrize(("theirs", "told"), [(["T2", "t1"], "order of channels"), (["FLAIR", "PD"], None)])
def test_channels_in_another_order_are_refused_and_other_names_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    theirs: list[str],
    told: str | None,
) -> None:
    dataset = write_dataset(tmp_path, smooth_cases(4, SHAPE, channels=2), (4, 8, 8), monkeypatch)
    other = other_dataset(dataset)
    for folder, names in ((dataset, ["T1", "T2"]), (other, theirs)):
        description = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps(description | {"channel_names": dict(enumerate(names))}))
    if told:
        with pytest.raises(SetupError, match=told):
            open_all(datasets=("Dataset778_Other",))
    else:
        open_all(datasets=("Dataset778_Other",))
        assert "has channels ['FLAIR', 'PD'], Dataset777_Written has ['T1', 'T2']" in caplog.text


def test_names_that_would_hide_a_source_are_refused(dataset: Path) -> None:
    with pytest.raises(SetupError, match="its own cases are learned from anyway"):
        open_all(datasets=(dataset.name,))
    with pytest.raises(SetupError, match="a pool named 'labelled' cannot be told"):
        open_all(pools=("labelled",))


def test_a_dataset_without_labels_is_the_pool_of_its_name(dataset: Path) -> None:
    planned = load_planned_configuration(dataset.name)
    write_pool(planned, "Dataset012_Archive", OTHERS)
    assert resolve_dataset_name(planned, "12") == "Dataset012_Archive"
    _, pool = open_all(datasets=("Dataset012_Archive",))
    assert (pool.kind, names(pool)) == ("pool", sorted(OTHERS))
    with pytest.raises(SetupError, match="neither a dataset id nor a name"):
        resolve_dataset_name(planned, "archive")
    with pytest.raises(SetupError, match="no dataset has this id"):
        resolve_dataset_name(planned, "13")
    with pytest.raises(SetupError, match="named twice: Dataset012_Archive"):
        open_all(datasets=("Dataset012_Archive",), pools=("Dataset012_Archive",))
