"""A whole benchmark at toy size on real scans: refusals, a kill, failures, jobs, and the tables at the end."""

from __future__ import annotations

import json
import math
import signal
import time
from typing import TYPE_CHECKING

import pytest
import torch

from nnunet_genesis.benchmark.scores import read_case_scores, read_epoch_scores
from tests.integration.workspace import HIPPOCAMPUS, TINY
from tests.transfer.networks import build

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path
    from typing import Any

    from tests.integration.workspace import Workspace

pytestmark = pytest.mark.slow

SHORT = ("-device", "cpu", "--epochs", "2", "--iterations", "3", "--labelled", "3", "--seeds", "0", "1", "--cpu-bf16")
RUNS = [
    "mg__3__standard__seed0",
    "mg__3__standard__seed1",
    "scratch__3__standard__seed0",
    "scratch__3__standard__seed1",
]
TEST_CASES = 5


@pytest.fixture(scope="module")
def groups(hippocampus: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sides of a subject, ids 2k - 1 and 2k, are one group."""
    images = sorted((hippocampus.raw / HIPPOCAMPUS / "imagesTr").iterdir())
    cases = [image.name.removesuffix("_0000.nii.gz") for image in images]
    file = tmp_path_factory.mktemp("groups") / "groups.csv"
    lines = [f"{case},{math.ceil(int(case.split('_')[1]) / 2)}" for case in cases]
    file.write_text("\n".join(["case,group", *lines]) + "\n")
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmark") / "hippocampus"


@pytest.fixture(scope="module")
def checkpoint(hippocampus: Workspace, groups: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining without the cases that the dry run lists."""
    command = ("genesis", "benchmark", HIPPOCAMPUS, *TINY, "--output", str(folder), "--groups", str(groups))
    output = hippocampus.run(*command, "--test-share", "0.3", *SHORT, "--dry-run")
    assert "scratch__3__standard__seed1  pending" in output
    assert sorted(file.name for file in folder.iterdir()) == [".lock", "test_cases.txt"]
    target = tmp_path_factory.mktemp("pretraining") / "run"
    hippocampus.run(
        "genesis-pretrain-nnunet", HIPPOCAMPUS, *TINY, "-device", "cpu", "-np", "1", "--epochs", "1",
        "--iterations-per-epoch", "2", "--exclude", str(folder / "test_cases.txt"), "--output", str(target),
    )  # fmt: skip
    return target / "checkpoint_final.pth"


def record_of(folder: Path, run: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "runs" / run / "run.json").read_text())
    return content


def statuses(folder: Path) -> dict[str, str]:
    return {run.name: record_of(folder, run.name)["status"] for run in sorted((folder / "runs").iterdir())}


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def test_a_benchmark_from_refusals_to_tables(
    hippocampus: Workspace, groups: Path, folder: Path, checkpoint: Path, request: pytest.FixtureRequest
) -> None:
    first = ("genesis", "benchmark", HIPPOCAMPUS, *TINY, "--output", str(folder), "--groups", str(groups), *SHORT)
    again = ("genesis", "benchmark", "4", *TINY, "--output", str(folder))
    _refusals(hippocampus, first, request.getfixturevalue("pretrained"), folder)

    # Killed in its first training, which goes on where it was.
    own = hippocampus.preprocessed / HIPPOCAMPUS
    before_all = {file.name: file.read_bytes() for file in own.glob("*.json")}
    process = hippocampus.start(*first, "--test-share", "0.3", "--initialisation", f"mg={checkpoint}")
    fold = "nnUNetTrainerGenesis_scratch_2epochs_3iters__nnUNetPlansTiny__3d_fullres/fold_0"
    killed = folder / "runs" / RUNS[2] / "nnUNet_results" / HIPPOCAMPUS / fold
    wait_for(killed / "checkpoint_best.pth", process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "finished runs are kept, and the same command continues" in output
    assert statuses(folder) == {RUNS[2]: "interrupted"}

    # A failure of some runs stops no others.
    output = hippocampus.run(*again, expect=1, nnUNet_genesis_minimum_share="7")
    assert statuses(folder) == dict(zip(RUNS, ["failed", "failed", "finished", "finished"], strict=True))
    assert "a share of the encoder is between 0 and 1" in "\n".join(record_of(folder, RUNS[0])["last_lines"])
    assert f"FAILED {RUNS[0]}: nnUNetv2_train ended with code 1" in output
    attempts = record_of(folder, RUNS[2])["attempts"]
    assert [attempt["command"].endswith("--c") for attempt in attempts] == [False, True]
    assert {score.run.initialisation for score in read_case_scores(folder / "results.csv")} == {"scratch"}

    # A file that is not what it was is told before anything is trained from it.
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole + b"\0")
    assert "failed before, --retry-failed runs it again" in hippocampus.run(*again, expect=1)
    hippocampus.run(*again, "--retry-failed", expect=1)
    assert "is not the one that was planned" in record_of(folder, RUNS[1])["problem"]
    assert len(record_of(folder, RUNS[1])["attempts"]) == 1
    checkpoint.write_bytes(whole)

    # Two jobs at once.
    jobs = [hippocampus.start(*again, "--retry-failed", "--job", f"{number}/2") for number in (1, 2)]
    outputs = [job.communicate(timeout=600)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert "report.html" in "".join(outputs)
    assert statuses(folder) == dict.fromkeys(RUNS, "finished")
    assert "problem" not in record_of(folder, RUNS[0])

    # Nothing is run twice.
    before = {run: (folder / "runs" / run / "log.txt").stat().st_mtime_ns for run in RUNS}
    hippocampus.run(*again)
    assert {run: (folder / "runs" / run / "log.txt").stat().st_mtime_ns for run in RUNS} == before
    assert {file.name: file.read_bytes() for file in own.glob("*.json")} == before_all
    assert f"Benchmark of {HIPPOCAMPUS}" in (folder / "report.html").read_text()

    _check_runs(folder, checkpoint)
    _check_tables(folder)


def _refusals(hippocampus: Workspace, first: tuple[str, ...], pretrained: Path, folder: Path) -> None:
    output = hippocampus.run(*first, "--test-share", "0.3", "--initialisation", f"leaky={pretrained}", expect=1)
    assert "leaky: pretraining saw" in output
    assert f"--exclude {folder / 'test_cases.txt'}" in output
    other = folder.parent / "other.pth"
    torch.save(build().state_dict(), other)
    output = hippocampus.run(*first, "--initialisation", f"other={other}", expect=1)
    assert "of the encoder" in output
    labelled = next(hippocampus.results.glob(f"{HIPPOCAMPUS}/nnUNetTrainerGenesis*/fold_0/checkpoint_final.pth"), None)
    if labelled is not None:
        output = hippocampus.run(*first, "--initialisation", f"labelled={labelled}", expect=1)
        assert "is a model that was trained with labels" in output
    assert not (folder / "benchmark.json").exists()


def _check_runs(folder: Path, checkpoint: Path) -> None:
    record = json.loads((folder / "benchmark.json").read_text())
    (subset,) = record["subsets"]
    assert set(subset["cases"]).isdisjoint(record["settings"]["test_cases"])
    for run in RUNS:
        (model,) = (folder / "runs" / run / "nnUNet_results" / HIPPOCAMPUS).glob("nnUNetTrainerGenesis*")
        (fold,) = model.glob("fold_*")
        init = json.loads((fold / "genesis_init.json").read_text())
        assert init["seed"] == int(run[-1])
        assert init["cpu_autocast"] == "bfloat16"
        assert init["initialization"] == ("scratch" if run.startswith("scratch") else "pretrained encoder")
        assert init.get("file") == (None if run.startswith("scratch") else str(checkpoint))
        assert [file.name for file in fold.glob("checkpoint_*")] == ["checkpoint_final.pth"]
        assert len(list((fold / "validation").glob("*.nii.gz"))) == TEST_CASES
        log = (folder / "runs" / run / "log.txt").read_text()
        assert f"This split has {len(subset['cases'])} training and {TEST_CASES} validation cases" in log
        assert "the network runs in torch.bfloat16" in log


def _check_tables(folder: Path) -> None:
    scores = read_case_scores(folder / "results.csv")
    values = {
        (f"{score.run.initialisation}__3__standard__seed{score.run.seed}", score.case, score.label, score.metric): score
        for score in scores
    }
    assert len(values) == len(scores) == len(RUNS) * TEST_CASES * 2 * 3
    for run in RUNS:
        (summary,) = (folder / "runs" / run).glob("nnUNet_results/*/*/fold_*/validation/summary.json")
        for entry in json.loads(summary.read_text())["metric_per_case"]:
            case = entry["prediction_file"].split("/")[-1].removesuffix(".nii.gz")
            for value, label in (("1", "anterior"), ("2", "posterior")):
                dice, nsd, hd95 = (values[run, case, label, metric].value for metric in ("dice", "nsd", "hd95"))
                assert dice == pytest.approx(entry["metrics"][value]["Dice"])
                assert 0 <= nsd <= 1
                assert 0 < hd95 < 100
    group_of = {score.case: score.group for score in scores}
    assert all(group_of[case] == f"group {math.ceil(int(case.split('_')[1]) / 2)}" for case in group_of)
    epochs = read_epoch_scores(folder / "epochs.csv")
    assert {(score.epoch, score.label) for score in epochs} == {
        (epoch, label) for epoch in (0, 1) for label in ("", "anterior", "posterior")
    }
    assert len(epochs) == len(RUNS) * 6
