"""Command lines: what they refuse, what they say, and how they end."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nnunet_genesis import checkpoint
from nnunet_genesis.plans import load_planned_configuration
from nnunet_genesis.pretraining import run
from nnunet_genesis.pretraining.interruption import StoppedEarly
from tests.commands import genesis, pretrain
from tests.pools import write_pool
from tests.preprocessed import DATASET, smooth_cases, write_dataset
from tests.tensorboard_events import recorded_epochs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = ["777", "-device", "cpu", "-np", "0", "--epochs", "2", "--iterations-per-epoch", "2", "--seed", "3"]


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_dataset(tmp_path, smooth_cases(6, (8, 20, 20)), (8, 16, 16), monkeypatch)


def output_folder(tmp_path: Path, without: str = "") -> Path:
    folder = f"GenesisPretraining_models-genesis__nnUNetPlans__3d_fullres{without}"
    return tmp_path / "nnUNet_results" / DATASET / folder


def test_run_leaves_everything_a_person_looks_at(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(*RUN) == 0
    folder = output_folder(tmp_path)
    names = {file.name for file in folder.iterdir()}
    assert {"checkpoint_final.pth", "checkpoint_best.pth", "progress.csv", "progress.png", "restorations.png"} <= names
    assert "checkpoint_latest.pth" not in names
    assert any((folder / "tensorboard").glob("events.*"))
    assert len((folder / "progress.csv").read_text().splitlines()) == 3
    log = next(folder.glob("pretraining_log_*.txt")).read_text()
    assert "epoch 2: training" in log
    assert "input returned" in log
    assert capsys.readouterr().out == f"{folder / 'checkpoint_final.pth'}\n"
    assert sorted(file.name for file in dataset.iterdir()) == ["dataset.json", "nnUNetPlans.json", "nnUNetPlans_cases"]


def test_checkpoint_says_where_it_comes_from(dataset: Path, tmp_path: Path) -> None:
    (dataset / "splits_final.json").write_text(json.dumps([{"train": [], "val": ["case_002"]}]))
    assert pretrain(*RUN, "--exclude-fold", "0") == 0
    content = checkpoint.read(output_folder(tmp_path, "__without_fold_0") / "checkpoint_final.pth")
    genesis = content["genesis"]
    assert (genesis["dataset"], genesis["plans"], genesis["configuration"]) == (DATASET, "nnUNetPlans", "3d_fullres")
    assert (genesis["pretext"], genesis["seed"], genesis["epochs"], genesis["steps"]) == ("models-genesis", 3, 2, 4)
    assert genesis["patch_size"] == [8, 16, 16]
    assert genesis["num_cases"] == 4 == len(genesis["cases"])
    assert genesis["excluded_cases"] == ["case_002"]
    assert "case_002" not in {*genesis["cases"], *genesis["validation_cases"]}
    assert all(len(digest) == 64 for digest in genesis["cases"].values())
    assert len(genesis["history"]) == 2
    assert genesis["baselines"].keys() == {"identity", "blurred", "constant", "sources"}
    assert genesis["sources"] == [
        {
            "name": "labelled",
            "kind": "labelled cases",
            "num_cases": 4,
            "num_validation_cases": 1,
            "num_excluded": 1,
            "num_repeated": 0,
            "own": True,
            "num_without_key": 5,
            "chance": 1.0,
        }
    ]
    assert "torch" in genesis["package_versions"]
    assert any("1908.06912" in citation for citation in genesis["citations"])
    assert content["nnssl_adaptation_plan"]["key_to_encoder"] == "encoder.stages"
    assert "training_state" not in content


def test_pools_are_learned_from_and_judged_on_one_by_one(dataset: Path, tmp_path: Path) -> None:
    assert dataset.is_dir()
    planned = load_planned_configuration(DATASET)
    for seed, name in enumerate(("mr", "imagesTs", "Dataset012_Archive"), start=1):
        scans = smooth_cases(5, (8, 20, 20), seed=seed)
        write_pool(planned, name, {f"scan_{number}": image for number, image in enumerate(scans.values())})
    listed = tmp_path / "exclude.txt"
    listed.write_text("# patients who asked for it\ncase_001\nmr/scan_2\n")
    sources = ("--pools", "mr", "--datasets", "12", "--imagesTs", "--exclude", str(listed))
    assert pretrain(*RUN, *sources) == 0
    folder = output_folder(tmp_path)
    genesis = checkpoint.read(folder / "checkpoint_final.pth")["genesis"]
    names = ["labelled", "mr", "imagesTs", "Dataset012_Archive"]
    assert [source["name"] for source in genesis["sources"]] == names
    assert genesis["excluded_cases"] == ["case_001", "mr/scan_2"]
    seen = {*genesis["cases"], *genesis["validation_cases"]}
    assert {"case_000", "mr/scan_0", "imagesTs/scan_4", "Dataset012_Archive/scan_2"} <= seen
    assert not {"case_001", "mr/scan_2"} & seen
    assert genesis["scans"] == sorted(genesis["scans"])
    assert len(genesis["scans"]) == 4 + 5 + 5, "raw voxels are known of the pools' scans"
    entry = genesis["history"][-1]
    chances = {source["name"]: source["chance"] for source in genesis["sources"]}
    assert entry["val_loss"] == pytest.approx(sum(chances[name] * entry[f"val_loss {name}"] for name in names))
    assert genesis["baselines"]["sources"].keys() == set(names)
    with (folder / "progress.csv").open() as stream:
        assert float(list(csv.DictReader(stream))[-1]["val_loss mr"]) == pytest.approx(entry["val_loss mr"])
    log = next(folder.glob("pretraining_log_*.txt")).read_text()
    assert "pool mr: 3 cases to learn from, 1 held out, 1 excluded; 22 % of the patches" in log
    assert "background: about" in log
    assert "validation by source: labelled" in log


def test_a_dataset_that_was_only_planned_is_pretrained_from_pools_alone(dataset: Path, tmp_path: Path) -> None:
    write_pool(load_planned_configuration(DATASET), "mr", smooth_cases(4, (8, 20, 20), seed=1))
    shutil.rmtree(dataset / "nnUNetPlans_cases")
    assert pretrain(*RUN, "--pools", "mr", "--no-labelled") == 0
    genesis = checkpoint.read(output_folder(tmp_path) / "checkpoint_final.pth")["genesis"]
    assert sorted({*genesis["cases"], *genesis["validation_cases"]}) == [f"mr/case_{n:03d}" for n in range(4)]


@pytest.mark.parametrize(
    ("pretext", "flags", "losses"),
    [
        ("masked", ["--mask-ratio", "0.75", "0.8", "--mask-block", "2", "4", "4"], {"loss"}),
        ("masked-genesis", ["--visible-weight", "0.2", "--shuffling-window", "2"], {"masked", "visible"}),
    ],
)
def test_masked_pretexts_run_continue_and_say_what_they_did(
    dataset: Path, tmp_path: Path, pretext: str, flags: list[str], losses: set[str]
) -> None:
    assert dataset.is_dir()
    assert pretrain(*RUN, "--pretext", pretext, *flags) == 0
    folder = tmp_path / "nnUNet_results" / DATASET / f"GenesisPretraining_{pretext}__nnUNetPlans__3d_fullres"
    content = checkpoint.read(folder / "checkpoint_final.pth")
    genesis = content["genesis"]
    assert genesis["pretext"] == pretext
    settings = genesis["config"][pretext.replace("-", "_")]
    if pretext == "masked":
        assert (settings["mask_ratio"], settings["mask_block"]) == ((0.75, 0.8), (2, 4, 4))
        assert genesis["pretext_settings"]["block"] == [2, 4, 4]
    else:
        assert (settings["visible_weight"], settings["shuffling_max_window_voxels"]) == (0.2, 2)
    assert {name.removeprefix("val_") for name in genesis["history"][-1] if name.startswith("val_")} >= losses
    assert any("2410.23132" in citation for citation in genesis["citations"])
    assert pretrain(*RUN, "--pretext", pretext, "--c") == 0, "the stored settings are used"
    assert not any(name.startswith("heads") for name in content["network_weights"])


def test_results_are_never_replaced_unasked(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dataset.is_dir()
    assert pretrain(*RUN) == 0
    final = output_folder(tmp_path) / "checkpoint_final.pth"
    before = final.read_bytes()
    assert pretrain(*RUN) == 1
    message = capsys.readouterr().err
    assert "there is a finished pretraining already" in message
    assert str(final) in message
    assert "--overwrite" in message
    assert final.read_bytes() == before
    assert pretrain(*RUN, "--c") == 0  # finished already: nothing to do
    assert final.read_bytes() == before
    assert pretrain(*RUN, "--overwrite", "--seed", "4") == 0
    assert checkpoint.read(final)["genesis"]["seed"] == 4
    assert pretrain(*RUN, "--c", "--lr", "0.5") == 1
    assert "learning_rate: 0.001 in the file, 0.5 now" in capsys.readouterr().err
    final.unlink()
    assert pretrain(*RUN) == 1
    assert "the best checkpoint of a pretraining" in capsys.readouterr().err
    assert pretrain(*RUN, "--c") == 1
    assert "there is nothing to continue from, but a checkpoint_best.pth" in capsys.readouterr().err
    (final.parent / "checkpoint_latest.pth").write_bytes(b"")
    assert pretrain(*RUN) == 1
    assert "--c to continue it" in capsys.readouterr().err


def test_truncated_checkpoint_is_not_continued_and_not_touched(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.is_dir()
    assert pretrain(*RUN) == 0
    folder = output_folder(tmp_path)
    part = (folder / "checkpoint_final.pth").read_bytes()[:5000]
    (folder / "checkpoint_final.pth").unlink()
    (folder / "checkpoint_latest.pth").write_bytes(part)
    capsys.readouterr()
    assert pretrain(*RUN, "--c") == 1
    message = capsys.readouterr().err
    assert message.startswith("error: the file is damaged or incomplete")
    assert "Traceback" not in message
    assert (folder / "checkpoint_latest.pth").read_bytes() == part


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["778"], "no preprocessed dataset has the id 778"),
        (["777", "-p", "nnUNetPlanz"], "plans that exist: nnUNetPlans"),
        (["777", "-c", "3d_lowres"], "has no configuration '3d_lowres'"),
        (["777", "-device", "cuda"], "0 CUDA device(s) found"),
        (["777", "-device", "cpu", "--exclude-fold", "9"], "--exclude-fold 9: there are 5 folds"),
        (["777", "-device", "cpu", "--val-fraction", "2"], "--val-fraction 2.0"),
        (["777", "-device", "cpu", "-num_gpus", "0"], "-num_gpus 0: must be at least 1"),
        (["777", "-device", "cpu", "-np", "-1"], "-np -1: must not be negative"),
        (["777", "-device", "cpu", "--precision", "16-mixed"], "--precision 16-mixed"),
        (["777", "-device", "cpu", "--c", "--overwrite"], "contradict each other"),
        (["777", "--mask-ratio", "0.6", "0.7"], "--mask-ratio is no setting of --pretext models-genesis"),
        (
            ["777", "--pretext", "masked", "--visible-weight", "0.1"],
            "--pretext masked-genesis, or leave --visible-weig",
        ),
        (["777", "--pretext", "masked", "--shuffling-window", "4"], "--shuffling-window is no setting of --pretext"),
        (["777", "--pretext", "masked", "--mask-ratio", "0.9", "0.7"], "--mask-ratio 0.9 0.7: must be"),
        (["777", "-device", "cpu", "--pretext", "masked", "--mask-block", "4", "4"], "3d_fullres has 3 axes"),
        (["777", "-device", "cpu", "--pretext", "masked", "--mask-block", "64"], "nothing stays visible"),
    ],
)
def test_mistakes_end_with_one_message_and_nothing_written(
    dataset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    root = dataset.parents[1]
    before = sorted(root.rglob("*"))
    assert pretrain(*arguments) == 1
    captured = capsys.readouterr().err
    assert message in captured
    assert "to mend it" in captured
    assert "Traceback" not in captured
    assert sorted(root.rglob("*")) == before


def test_continuing_where_nothing_is_starts_loudly(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.is_dir()
    other = output_folder(tmp_path, "__without_fold_0")
    other.mkdir(parents=True)
    (other / "checkpoint_latest.pth").touch()
    assert pretrain(*RUN, "--c") == 0
    told = capsys.readouterr().err
    assert "there is no checkpoint to continue from" in told
    assert f"another one is unfinished (other flags?): {other / 'checkpoint_latest.pth'}" in told
    assert (output_folder(tmp_path) / "checkpoint_final.pth").is_file()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_same_seed_gives_the_same_weights_and_another_seed_others(
    dataset: Path, tmp_path: Path, optimizer: str
) -> None:
    assert dataset.is_dir()
    files = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert pretrain(*RUN, "--optimizer", optimizer, "--seed", seed, "--output", str(tmp_path / name)) == 0
        files.append(checkpoint.read(tmp_path / name / "checkpoint_final.pth"))
    first, same, other = (content["network_weights"]["encoder.stages.0.0.convs.0.conv.weight"] for content in files)
    assert (first == same).all()
    assert not (first == other).all()
    histories = [[entry["train_loss"] for entry in content["genesis"]["history"]] for content in files]
    assert histories[0] == histories[1] != histories[2]


@pytest.mark.parametrize("command", ["pretrain", "genesis"])
def test_help_waits_for_no_large_library(command: str) -> None:
    lines = (
        "import sys",
        "from nnunet_genesis import cli",
        "try:",
        f"    cli.{command}(['--help'])",
        "except SystemExit as ended:",
        "    large = {'torch', 'lightning_fabric', 'nnunetv2', 'matplotlib', 'scipy', 'SimpleITK'} & set(sys.modules)",
        "    print(ended.code, sorted(large))",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True)
    assert "usage" in done.stdout
    assert done.stdout.endswith("0 []\n")


def test_what_is_said_of_an_early_stop_does_not_go_on_with_what_was_to_be_replaced(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dataset.is_dir()

    def is_stopped(*_: object) -> bool:
        raise StoppedEarly

    monkeypatch.setattr(run, "run_pretraining", is_stopped)
    pretrain(*RUN, "--overwrite")
    assert capsys.readouterr().err.endswith(
        f"begin again with:\n  genesis-pretrain-nnunet {' '.join(RUN)} --overwrite\n"
    )
    pretrain(*RUN)
    assert capsys.readouterr().err.endswith(f"begin again with:\n  genesis-pretrain-nnunet {' '.join(RUN)} --c\n")


def test_a_continued_run_keeps_to_one_channel(dataset: Path) -> None:
    assert dataset.is_dir()
    assert pretrain(*RUN, "--single-channel") == 0
    assert pretrain(*RUN, "--c") == 0, "the stored settings are used"


def test_curves_of_a_replaced_run_are_gone(dataset: Path, tmp_path: Path) -> None:
    assert dataset.is_dir()
    assert pretrain(*RUN) == 0
    assert recorded_epochs(output_folder(tmp_path) / "tensorboard") == [2, 4]
    assert pretrain(*RUN, "--overwrite", "--epochs", "1") == 0
    assert recorded_epochs(output_folder(tmp_path) / "tensorboard") == [2]


@pytest.mark.parametrize(("command", "flag"), [(pretrain, "--overw"), (pretrain, "--out"), (genesis, "--see")])
def test_flags_are_not_abbreviated(capsys: pytest.CaptureFixture[str], command: Callable[..., int], flag: str) -> None:
    """Printed commands leave out --overwrite, which they know by its name only."""
    subcommand = ["preview"] if command is genesis else []
    assert command(*subcommand, "777", flag, "3") == 2
    assert f"unrecognized arguments: {flag}" in capsys.readouterr().err


@pytest.mark.usefixtures("dataset")
def test_telling_modalities_that_nothing_asks_for_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(*RUN, "--modality", "labelled=CT") == 1
    said = capsys.readouterr().err
    assert "--modality changes nothing with --pretext models-genesis and without --source-weights modality" in said
    assert "--source-weights modality, or leave --modality out" in said


def test_discovery_takes_the_flag_that_drawing_by_modality_advises(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pool(load_planned_configuration(DATASET), "mr", smooth_cases(4, (8, 20, 20), seed=7))
    words = ("discover", "777", "--pools", "mr", "--source-weights", "modality", "--classes", "2", "-np", "0")
    assert genesis(*words, "--output", dataset.parent / "discovered", "--modality", "mr=CT") == 0
    assert "nothing tells the modality" not in caplog.text
