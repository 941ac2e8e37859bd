"""Which models predict, and by which commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nnunet_genesis.errors import DataError, GenesisError, SetupError
from nnunet_genesis.submission.images import TestImages
from nnunet_genesis.submission.models import Choice, choose_models
from nnunet_genesis.submission.postprocessing import find_postprocessing
from nnunet_genesis.submission.prediction import Machine, Step, plan_steps, run_steps
from nnunet_genesis.submission.provenance import describe_model, seen_test_cases
from nnunet_genesis.submission.same_dataset import refuse_other_dataset
from tests.submission.models import write_model
from tests.submission.written import write_blob, write_json

DATASET = "Dataset003_Liver"
FIVE = ("0", "1", "2", "3", "4")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    folder = tmp_path / DATASET
    folder.mkdir()
    return folder


def test_the_only_model_is_taken_with_all_folds_else_fold_all(results: Path) -> None:
    folder = write_model(results, "nnUNetTrainerGenesis__P__3d_fullres", folds=FIVE)
    (model,) = choose_models(DATASET, Choice())
    assert (model.folder, model.folds, model.previous) == (folder, FIVE, None)
    write_model(results, "nnUNetTrainer__P__2d", folds=("all",))
    (model,) = choose_models(DATASET, Choice(configuration="2d"))
    assert model.folds == ("all",)
    assert choose_models(DATASET, Choice(trainer="nnUNetTrainerGenesis"))[0].folder == folder
    with pytest.raises(SetupError, match="several trained models fit"):
        choose_models(DATASET, Choice(plans="P"))
    with pytest.raises(SetupError, match="no trained model fits"):
        choose_models(DATASET, Choice(plans="Q"))
    with pytest.raises(SetupError, match="--model and -tr, -p, -c both name models"):
        choose_models(DATASET, Choice(models=("nnUNetTrainer__P__2d",), plans="P"))
    with pytest.raises(SetupError, match="names a model twice"):
        choose_models(DATASET, Choice(models=("nnUNetTrainer__P__2d",) * 2))


def test_folds_that_are_not_finished_are_not_left_out_without_a_word(results: Path) -> None:
    write_model(results, "nnUNetTrainer__P__3d_fullres", folds=("0", "1"))
    with pytest.raises(SetupError, match=r"no checkpoint_final\.pth of fold 2, 3, 4; finished: 0, 1") as raised:
        choose_models(DATASET, Choice())
    assert raised.value.mend is not None
    assert raised.value.mend.startswith("-f 0 1, or nnUNetv2_train Dataset003_Liver 3d_fullres 2 ")


def test_what_nnunet_recommends_comes_before_what_there_is(results: Path) -> None:
    names = ["nnUNetTrainer__P__2d", "nnUNetTrainerGenesis__P__3d_fullres"]
    for name in names:
        write_model(results, name, folds=("0", "1"))
    parts = [
        dict(zip(("trainer", "plans_identifier", "configuration"), name.split("__"), strict=True)) for name in names
    ]
    told = {"folds": [0, 1], "best_model_or_ensemble": {"selected_model_or_models": parts}}
    (results / "inference_information.json").write_text(json.dumps(told))
    models = choose_models(DATASET, Choice())
    assert [model.name for model in models] == names
    assert all(model.folds == ("0", "1") for model in models)
    assert [model.folds for model in choose_models(DATASET, Choice(folds=("1",)))] == [("1",), ("1",)]
    assert find_postprocessing(models) is None
    ensemble = results / "ensembles" / f"ensemble___{names[0]}___{names[1]}___0_1"
    ensemble.mkdir(parents=True)
    (ensemble / "postprocessing.pkl").write_bytes(b"")
    assert find_postprocessing(models) == find_postprocessing(models[::-1]) == ensemble / "postprocessing.pkl"
    assert find_postprocessing(models[:1]) is None, "that of the ensemble is not the model's"
    (results / "inference_information.json").write_text("{}")
    with pytest.raises(SetupError, match="not as nnU-Net writes it"):
        choose_models(DATASET, Choice())


def test_the_second_stage_of_a_cascade_gets_what_the_first_predicted(results: Path, tmp_path: Path) -> None:
    names = [f"nnUNetTrainer__P__{configuration}" for configuration in ("3d_lowres", "3d_cascade_fullres")]
    write_model(results, names[1], previous="3d_lowres")
    with pytest.raises(SetupError, match="no model folder"):
        choose_models(DATASET, Choice(models=(names[1],), folds=("0",)))
    write_model(results, names[0])
    machine = Machine("cpu", 1, 2)

    def commands(*models: str) -> list[list[str]]:
        chosen = choose_models(DATASET, Choice(models=models, folds=("0",)))
        return [list(step.words) for step in plan_steps(Path("imagesTs"), chosen, None, tmp_path / "out", machine)]

    first, second = commands(names[1])
    assert first[first.index("-m") + 1] == str(results / names[0])
    assert second[second.index("-prev_stage_predictions") + 1] == first[first.index("-o") + 1]
    assert "--save_probabilities" not in first + second
    for order in (names, names[::-1]):
        first, second, third = commands(*order)  # the first stage predicts once, though it is also averaged
        assert first[first.index("-m") + 1] == str(results / names[0])
        assert "--save_probabilities" in first
        assert "--save_probabilities" in second
        assert third[0] == "nnUNetv2_ensemble"
        members = third[third.index("-i") + 1 : third.index("-o")]
        assert members == [str(tmp_path / "out" / name) for name in order]


def test_models_of_one_name_keep_their_predictions_apart(results: Path, tmp_path: Path) -> None:
    name = "nnUNetTrainer__P__2d"
    folders = [str(write_model(parent, name)) for parent in (results, tmp_path / "elsewhere")]
    chosen = choose_models(DATASET, Choice(models=tuple(folders), folds=("0",)))
    steps = plan_steps(Path("imagesTs"), chosen, Path("pp.pkl"), tmp_path / "out", Machine("cpu"))
    assert len({step.output for step in steps}) == 4
    assert steps[-1].words[0] == "nnUNetv2_apply_postprocessing"
    assert str(steps[-2].output) in steps[-1].words


def test_a_command_that_fails_is_named_with_what_to_do(tmp_path: Path) -> None:
    image = tmp_path / "case_0000.nii.gz"
    write_blob(image, (4, 5, 6), 90, (1.0, 1.0, 1.0))
    images = TestImages("Dataset003_Liver", tmp_path, {}, ".nii.gz", {"case": (image,)})
    steps = [Step(("false", "-o", "some folder"), tmp_path / "work" / "model")]
    lines: list[str] = []
    with pytest.raises(GenesisError, match=r"exit status 1.*\n    false -o 'some folder'") as caught:
        run_steps(tmp_path / "work", steps, images, {0: "background", 1: "liver"}, made_by={}, say=lines.append)
    assert "run the same command again: predictions that are whole are kept" in str(caught.value)
    assert lines == ["$ false -o 'some folder'"]


def test_whole_predictions_are_not_made_again(tmp_path: Path) -> None:
    """The command would fail, if it were run."""
    images, labels = {}, {0: "background", 1: "liver"}
    output = tmp_path / "work" / "model"
    output.mkdir(parents=True)
    (tmp_path / "work" / "made_by.json").write_text("{}")
    for case in ("a", "b"):
        images[case] = (tmp_path / f"{case}_0000.nii.gz",)
        write_blob(images[case][0], (4, 5, 6), 90, (1.0, 1.0, 1.0))
        write_blob(output / f"{case}.nii.gz", (4, 5, 6), 1, (1.0, 1.0, 1.0))
    found = TestImages("Dataset003_Liver", tmp_path, {}, ".nii.gz", images)
    lines: list[str] = []
    step = Step(("false",), output, continues=True)
    assert run_steps(tmp_path / "work", [step], found, labels, made_by={}, say=lines.append) == output
    assert lines == [f"{output}: all 2 predictions are there"]
    unmarked = Step(("false",), tmp_path / "unmarked" / "model", continues=True)
    shutil.copytree(output, unmarked.output)
    with pytest.raises(SetupError, match="predictions of another submission; what differs: models"):
        run_steps(tmp_path / "unmarked", [unmarked], found, labels, made_by={"models": {}}, say=lines.append)
    needs_more = Step(("false",), output, keeps_probabilities=True, continues=True)
    with pytest.raises(GenesisError, match="exit status 1"):
        run_steps(tmp_path / "work", [needs_more], found, labels, made_by={}, say=lines.append)
    with pytest.raises(SetupError, match="predictions of another submission; what differs: images"):
        run_steps(tmp_path / "work", [step], found, labels, made_by={"images": {}}, say=lines.append)


def test_what_is_made_of_predictions_is_made_again_with_them(tmp_path: Path) -> None:
    """The ensemble of an earlier attempt is whole, and may be one of other predictions."""
    image, folders = tmp_path / "a_0000.nii.gz", [tmp_path / "work" / name for name in ("model", "ensemble")]
    write_blob(image, (4, 5, 6), 90, (1.0, 1.0, 1.0))
    for folder, label in ((tmp_path / "made", 1), (folders[1], 2)):
        folder.mkdir(parents=True)
        write_blob(folder / "a.nii.gz", (4, 5, 6), label, (1.0, 1.0, 1.0))
    (tmp_path / "work" / "made_by.json").write_text("{}")
    found = TestImages("Dataset003_Liver", tmp_path, {}, ".nii.gz", {"a": (image,)})
    steps = [
        Step(("cp", str(source / "a.nii.gz"), str(output)), output, continues=output == folders[0])
        for source, output in ((tmp_path / "made", folders[0]), (folders[0], folders[1]))
    ]
    labels, lines = {0: "background", 1: "liver", 2: "tumour"}, list[str]()
    for said in (["$ cp", "$ cp"], [f"{folder}:" for folder in folders]):
        lines.clear()
        assert run_steps(tmp_path / "work", steps, found, labels, made_by={}, say=lines.append) == folders[1]
        assert [line.startswith(begin) for line, begin in zip(lines, said, strict=True)] == [True, True]
        assert (folders[1] / "a.nii.gz").read_bytes() == (tmp_path / "made" / "a.nii.gz").read_bytes()


def test_the_first_stage_of_a_cascade_must_mean_the_same_labels_too(results: Path, tmp_path: Path) -> None:
    names = [f"nnUNetTrainer__P__{configuration}" for configuration in ("3d_lowres", "3d_cascade_fullres")]
    first, second = write_model(results, names[0]), write_model(results, names[1], previous="3d_lowres")
    write_json(second, {"background": 0, "liver": 1})
    images = TestImages(DATASET, tmp_path, json.loads((second / "dataset.json").read_text()), ".nii.gz", {})
    models = choose_models(DATASET, Choice(models=(names[1],), folds=("0",)))
    write_json(first, {"background": 0, "liver": 1})
    refuse_other_dataset(models, images)
    write_json(first, {"background": 0, "spleen": 1})
    with pytest.raises(SetupError, match=r"labels: the model .*'spleen': 1}, the raw dataset") as raised:
        refuse_other_dataset(models, images)
    assert raised.value.where == first


def test_predictions_that_are_whole_but_not_sound_stay_and_those_that_are_cut_off_are_made_again(
    tmp_path: Path,
) -> None:
    output = tmp_path / "work" / "model"
    output.mkdir(parents=True)
    (tmp_path / "work" / "made_by.json").write_text("{}")
    images = {case: (tmp_path / f"{case}_0000.nii.gz",) for case in ("a", "b", "c")}
    for case, (image,) in images.items():
        write_blob(image, (4, 5, 6), 90, (1.0, 1.0, 1.0))
        write_blob(output / f"{case}.nii.gz", (4, 5, 6), 3 if case == "a" else 1, (1.0, 1.0, 1.0))
    cut_off = output / "c.nii.gz"
    cut_off.write_bytes(cut_off.read_bytes()[:-20])
    before = {file: file.read_bytes() for file in output.iterdir()}
    found = TestImages("Dataset003_Liver", tmp_path, {}, ".nii.gz", images)
    step = Step(("false",), output, continues=True)

    def run(labels: dict[int, str]) -> None:
        run_steps(tmp_path / "work", [step], found, labels, made_by={}, say=lambda _: None)

    with pytest.raises(DataError, match=r"1 problem\(s\) with predictions that are whole.*\n    a: it holds 3, and"):
        run({0: "background", 1: "liver"})
    assert {file: file.read_bytes() for file in output.iterdir()} == before
    with pytest.raises(GenesisError, match="exit status 1"):
        run({0: "background", 1: "liver", 3: "tumour"})
    assert {file: file.read_bytes() for file in output.iterdir()} == {
        file: content for file, content in before.items() if file != cut_off
    }


def test_test_images_that_the_first_stage_of_a_cascade_saw_are_told(results: Path) -> None:
    names = [f"nnUNetTrainer__P__{configuration}" for configuration in ("3d_lowres", "3d_cascade_fullres")]
    first = write_model(results, names[0])
    write_model(results, names[1], previous="3d_lowres")
    (first / "fold_0" / "genesis_init.json").write_text(json.dumps({"test_cases_seen_in_pretraining": ["liver_7"]}))
    (cascade,) = choose_models(DATASET, Choice(models=(names[1],), folds=("0",)))
    assert seen_test_cases([describe_model(cascade)]) == ["liver_7"]
