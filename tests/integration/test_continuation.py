"""An interrupted run goes on as if nothing had happened; two processes do what one does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nnunet_genesis.pretraining.interruption import EXIT_INTERRUPTED, EXIT_REQUEUE
from tests.integration.workspace import read_until

if TYPE_CHECKING:
    from tests.integration.workspace import Workspace

COMMON = (
    "Dataset004_Hippocampus", "-p", "nnUNetPlansTiny", "-device", "cpu", "-np", "1", "--iterations-per-epoch", "5",
)  # fmt: skip


def read(folder: Path, name: str = "checkpoint_final.pth") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / name, weights_only=True)
    return content


def losses(content: dict[str, Any]) -> list[tuple[float, float]]:
    return [(entry["train_loss"], entry["val_loss"]) for entry in content["genesis"]["history"]]


def interrupt_after_first_epoch(workspace: Workspace, command: tuple[str, ...]) -> None:
    process = workspace.start(*command)
    read_until(process, "epoch 1:")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)


EIGHT_EPOCHS = ("genesis-pretrain-nnunet", *COMMON, "--epochs", "8", "--seed", "5")


@pytest.fixture(scope="module")
def undisturbed(hippocampus: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The final checkpoint of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    hippocampus.run(*EIGHT_EPOCHS, "--output", str(folder))
    return read(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, EXIT_REQUEUE), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_interrupted_run_continues_bit_for_bit(
    hippocampus: Workspace, undisturbed: dict[str, Any], tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    process = hippocampus.start(*EIGHT_EPOCHS, "--output", str(tmp_path))
    read_until(process, "epoch 2:")
    process.send_signal(sent)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == code, rest
    step = read(tmp_path, "checkpoint_latest.pth")["training_state"]["step"]
    if sent == signal.SIGKILL:
        assert step == 5, "saved after the first epoch, and ten minutes later again"
    else:
        assert "--c" in rest.split("continue with:")[1]
        assert 10 <= step < 40
    hippocampus.run(*EIGHT_EPOCHS, "--output", str(tmp_path), "--c")
    continued = read(tmp_path)
    assert losses(continued) == losses(undisturbed)
    assert len(losses(continued)) == 8
    for name, tensor in undisturbed["network_weights"].items():
        assert torch.equal(tensor, continued["network_weights"][name]), name
    assert not (tmp_path / "checkpoint_latest.pth").exists()


@pytest.mark.slow
def test_other_settings_or_other_data_are_not_continued(hippocampus: Workspace, tmp_path: Path) -> None:
    command = ("genesis-pretrain-nnunet", *COMMON, "--epochs", "40", "--output", str(tmp_path))
    interrupt_after_first_epoch(hippocampus, command)
    output = hippocampus.run(*command, "--c", "--lr", "0.1", expect=1)
    assert "learning_rate: 0.001 in the file, 0.1 now" in output
    assert "Traceback" not in output
    output = hippocampus.run(*command, "--c", "--exclude-fold", "0", expect=1)
    assert "exclude_fold: None in the file, 0 now" in output


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["num_gpus", "torchrun"])
def test_two_processes_take_the_steps_of_one(hippocampus: Workspace, tmp_path: Path, launcher: str) -> None:
    arguments = (*COMMON, "--epochs", "2", "--batch-size", "4", "--optimizer", "sgd", "--lr", "1e-2")
    hippocampus.run("genesis-pretrain-nnunet", *arguments, "--output", str(tmp_path / "one"), OMP_NUM_THREADS="1")
    command = ["genesis-pretrain-nnunet", *arguments, "-num_gpus", "2"]
    if launcher == "torchrun":
        script = str(Path(sys.executable).parent / "genesis-pretrain-nnunet")
        command = ["torchrun", "--standalone", "--nproc_per_node", "2", script, *arguments]
    hippocampus.run(*command, "--output", str(tmp_path / "two"), OMP_NUM_THREADS="1")
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    for ours, theirs in zip(losses(one), losses(two), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    for name, tensor in one["network_weights"].items():
        torch.testing.assert_close(tensor, two["network_weights"][name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "sent", "to_group", "code"),
    [
        ("num_gpus", signal.SIGTERM, True, EXIT_REQUEUE),
        ("num_gpus", signal.SIGUSR1, False, EXIT_REQUEUE),
        ("torchrun", signal.SIGINT, True, 1),
        ("torchrun", signal.SIGTERM, False, 1),
    ],
)
def test_two_interrupted_processes_save_once_and_continue(
    hippocampus: Workspace, tmp_path: Path, launcher: str, sent: signal.Signals, *, to_group: bool, code: int
) -> None:
    """A scheduler tells every process of a group, a person the launcher; torchrun hands on what the group got already.

    Torchrun ends with 1 after a signal, whatever its processes end with.
    """
    arguments = (*COMMON, "--epochs", "30", "--output", str(tmp_path))
    command: tuple[str, ...] = ("genesis-pretrain-nnunet", *arguments, "-num_gpus", "2")
    if launcher == "torchrun":
        script = str(Path(sys.executable).parent / "genesis-pretrain-nnunet")
        command = ("torchrun", "--standalone", "--nproc_per_node", "2", script, *arguments)
    process = hippocampus.start(*command, new_session=True, OMP_NUM_THREADS="1")
    read_until(process, "epoch 2:")
    (os.killpg if to_group else os.kill)(process.pid, sent)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == code, rest
    how = {"num_gpus": "continue with:", "torchrun": "continue, by the same launcher as before, with:"}[launcher]
    assert rest.count(how) == 1, rest
    step = read(tmp_path, "checkpoint_latest.pth")["training_state"]["step"]
    assert 10 <= step < 150
    assert step % 10 == 0
    output = hippocampus.run(*command, "--c", OMP_NUM_THREADS="1")
    assert "epoch 30:" in output
    assert "epoch 1:" not in output


@pytest.mark.slow
def test_replanned_network_is_not_continued(hippocampus: Workspace, tmp_path: Path) -> None:
    command = ("genesis-pretrain-nnunet", *COMMON, "--epochs", "60", "--output", str(tmp_path))
    interrupt_after_first_epoch(hippocampus, command)
    plans = hippocampus.preprocessed / "Dataset004_Hippocampus" / "nnUNetPlansTiny.json"
    before = plans.read_text()
    try:
        plans.write_text(before.replace('"patch_size": [24, 32, 24]', '"patch_size": [24, 24, 24]'))
        output = hippocampus.run(*command, "--c", expect=1)
    finally:
        plans.write_text(before)
    assert "its patch size changed since: [24, 32, 24] in the file, [24, 24, 24] now" in output
    assert "Traceback" not in output


def test_batch_that_cannot_be_divided_is_refused(hippocampus: Workspace, tmp_path: Path) -> None:
    command = (
        "genesis-pretrain-nnunet",
        *COMMON,
        "--batch-size",
        "3",
        "-num_gpus",
        "2",
        "--output",
        str(tmp_path / "x"),
    )
    output = hippocampus.run(*command, expect=1)
    assert "a batch of 3 cannot be divided among 2 processes" in output
    assert "--batch-size 4" in output
