"""The sequence of the demonstration and the folder that it refuses."""

from pathlib import Path

import pytest

from nnunet_genesis.demo import commands, settings
from nnunet_genesis.demo import run as demo
from nnunet_genesis.demo.commands import Command
from nnunet_genesis.demo.console import Console
from nnunet_genesis.demo.pipeline import demo_commands
from nnunet_genesis.errors import GenesisError
from nnunet_genesis.trainers.grammar import parse_trainer_name


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at once, rather than after the whole demonstration, if it starts."""
    monkeypatch.setattr(demo, "_make_scans", lambda *_: pytest.fail("the demonstration started"))


@pytest.mark.usefixtures("no_start")
def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure.txt"
    treasure.write_text("mine")
    with pytest.raises(GenesisError, match="not empty") as caught:
        demo.run_demo(tmp_path, seed=0)
    assert str(tmp_path) in str(caught.value)
    assert "--output" in str(caught.value)
    assert list(tmp_path.iterdir()) == [treasure]
    assert treasure.read_text() == "mine"


@pytest.mark.usefixtures("no_start")
def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "demo_report"
    file.write_text("mine")
    with pytest.raises(GenesisError, match="there already"):
        demo.run_demo(file, seed=0)
    assert file.read_text() == "mine"


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused_before_any_folder_is_made(tmp_path: Path, seed: int) -> None:
    with pytest.raises(GenesisError, match=rf"--seed {seed}: must be in \[0, 2\*\*32\)") as caught:
        demo.run_demo(tmp_path / "report", seed=seed)
    assert "genesis demo --seed 0" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_each_stage_has_an_expected_time_in_the_order_of_the_run() -> None:
    names = [command.name for command in demo_commands(Path("/data"), seed=0)]
    assert ["scans", *names, "report"] == list(settings.EXPECTED_SECONDS)


def test_both_networks_train_with_one_schedule_and_only_one_is_the_control() -> None:
    pretrained = parse_trainer_name(settings.PRETRAINED_TRAINER)
    scratch = parse_trainer_name(settings.SCRATCH_TRAINER)
    assert (pretrained.epochs, pretrained.iterations_per_epoch) == (scratch.epochs, scratch.iterations_per_epoch)
    assert pretrained.epochs == settings.TRAINING_EPOCHS
    assert (pretrained.scratch, scratch.scratch) == (False, True)


def test_commands_carry_the_seed_and_keep_paths_with_spaces_whole() -> None:
    by_name = {command.name: command for command in demo_commands(Path("/my data"), seed=7)}
    words = by_name["pretrain"].words
    assert words[words.index("--seed") + 1] == "7"
    assert words[words.index("--exclude-fold") + 1] == str(settings.FOLD)
    predict = by_name["predict_scratch"]
    images = f"/my data/nnUNet_raw/{settings.DATASET}/imagesTs"
    assert predict.words[predict.words.index("-i") + 1] == images
    assert f"-i '{images}'" in predict.line()
    assert predict.words[predict.words.index("-tr") + 1] == settings.SCRATCH_TRAINER


def test_the_stages_follow_each_other_and_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def pretend(command: Command, variables: dict[str, str], log: Path, console: Console) -> None:
        assert variables["nnUNet_results"].startswith(str(tmp_path))
        assert log.parent.is_dir()
        ran.append(command.name)
        with console.stage(command.name):
            console.tick("working")

    def write_nothing(*_: object) -> str:
        return "The verdict."

    monkeypatch.setattr(settings, "COUNTS", {"labelled": 0, "unlabelled": 0, "test": 1})
    monkeypatch.setattr(commands, "run", pretend)
    monkeypatch.setattr(demo, "_shrink_plan", lambda *_: ran.append("shrink"))
    monkeypatch.setattr(demo, "write_outcome", write_nothing)
    demo.run_demo(tmp_path / "report", seed=1)
    assert ran[:5] == ["plan", "shrink", "preprocess", "pool", "pretrain"]
    assert sorted(ran[5:]) == sorted(
        f"{verb}_{network}" for verb in ("train", "predict", "evaluate") for network in ("pretrained", "scratch")
    )
    printed = capsys.readouterr().out
    assert "export nnUNet_raw=" in printed
    assert "training never sees an unlabelled one" in printed
    assert printed.rstrip().endswith(f"The verdict.\n\nReport: {tmp_path / 'report' / 'report.html'}")
    assert (tmp_path / "report/data/nnUNet_raw" / settings.DATASET / "imagesTs/test_000_0000.nii.gz").exists()
