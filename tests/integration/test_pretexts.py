"""Every pretext by the real commands on real scans: trains, goes on after an interruption, and starts a training."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import torch

from nnunet_genesis.pretraining.interruption import EXIT_REQUEUE
from tests.integration.workspace import HIPPOCAMPUS, TINY, TRAINER, read_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.workspace import Workspace

PRETEXTS = ["semantic-genesis", "masked", "masked-genesis", "universal-model"]


def command(pretext: str, *more: str) -> tuple[str, ...]:
    return (
        "genesis-pretrain-nnunet", HIPPOCAMPUS, *TINY, "-device", "cpu", "-np", "1", "--pretext", pretext, "--epochs",
        "3", "--iterations-per-epoch", "5", "--exclude-fold", "0", *more,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("pretext", PRETEXTS)
def test_pretext_goes_on_bit_for_bit_and_starts_a_training(
    hippocampus: Workspace, tmp_path: Path, pretext: str
) -> None:
    # Pretraining and training in folders of their own: other tests expect theirs in the common one.
    folder, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    hippocampus.run(*command(pretext, "--output", str(folder)))
    process = hippocampus.start(*command(pretext, "--output", str(interrupted)))
    read_until(process, "epoch 1:")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == EXIT_REQUEUE
    hippocampus.run(*command(pretext, "--output", str(interrupted), "--c"))
    whole, continued = (torch.load(one / "checkpoint_final.pth", weights_only=True) for one in (folder, interrupted))
    assert [entry["val_loss"] for entry in whole["genesis"]["history"]] == [
        entry["val_loss"] for entry in continued["genesis"]["history"]
    ]
    for name, tensor in whole["network_weights"].items():
        assert torch.equal(tensor, continued["network_weights"][name]), name

    assert not any("head" in name for name in whole["network_weights"])
    network = {name for name in whole["network_weights"] if name.startswith("encoder.")}
    assert network, "the network of the plans is what is handed on"
    told = hippocampus.run("genesis", "inspect", str(folder / "checkpoint_final.pth"))
    assert f"pretext: {pretext}" in told
    assert "its settings: " in told
    output = hippocampus.run(
        "nnUNetv2_train", "4", "3d_fullres", "0", *TINY, "-device", "cpu", "-tr", TRAINER,
        nnUNet_genesis_checkpoint=str(folder / "checkpoint_final.pth"), nnUNet_results=str(tmp_path / "results"),
    )  # fmt: skip
    assert "100 % of the encoder's parameters" in output


@pytest.mark.slow
def test_two_processes_classify_as_one_does(hippocampus: Workspace, tmp_path: Path) -> None:
    common = ("--batch-size", "4", "--optimizer", "sgd", "--lr", "1e-3")
    one, two = (
        command("semantic-genesis", *common, "-num_gpus", number, "--output", str(tmp_path / number))
        for number in ("1", "2")
    )
    hippocampus.run(*one, OMP_NUM_THREADS="1")
    hippocampus.run(*two, OMP_NUM_THREADS="1")
    first, second = (
        torch.load(tmp_path / number / "checkpoint_final.pth", weights_only=True)["genesis"]["history"]
        for number in ("1", "2")
    )
    for ours, theirs in zip(first, second, strict=True):
        for name in ("train_classification", "train_restoration", "val_classification", "val_restoration"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
        assert ours["val_accuracy"] == theirs["val_accuracy"]


@pytest.mark.slow
def test_classification_alone_leaves_the_restoration_untrained(hippocampus: Workspace, tmp_path: Path) -> None:
    def last(name: str, *more: str) -> dict[str, float]:
        folder = tmp_path / name
        hippocampus.run(*command("semantic-genesis", "--lr", "1e-3", "--output", str(folder), *more))
        content = torch.load(folder / "checkpoint_final.pth", weights_only=True)
        entry: dict[str, float] = content["genesis"]["history"][-1]
        return entry

    both, first = last("both"), last("first", "--classification-first", "0.99")
    assert first["train_restoration"] > both["train_restoration"]
    assert first["train_classification"] <= 1.1 * both["train_classification"], "it has the network to itself"


def test_a_flag_of_another_pretext_is_refused(hippocampus: Workspace) -> None:
    output = hippocampus.run(
        "genesis-pretrain-nnunet", HIPPOCAMPUS, *TINY, "-device", "cpu", "--classes", "8", expect=1
    )
    assert "--classes is no setting of --pretext models-genesis" in output
    assert "--pretext semantic-genesis, or leave --classes out" in output
