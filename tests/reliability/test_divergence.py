"""Numbers that go wrong: steps are skipped and counted, training goes back once, a constant output is reported."""

from __future__ import annotations

import csv
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import nn

from nnunet_genesis import checkpoint
from nnunet_genesis.config import PretrainingConfig
from nnunet_genesis.errors import GenesisError
from nnunet_genesis.pretraining.collapse import EPOCHS_IN_A_ROW, find_collapse, warn_of_collapse
from nnunet_genesis.pretraining.divergence import EXPLODING, DivergenceGuard, DivergenceRecord
from nnunet_genesis.pretraining.interruption import StopRequest
from nnunet_genesis.pretraining.learned_state import restore_learned
from nnunet_genesis.pretraining.loop import TrainingState, build_optimizer, save_latest
from nnunet_genesis.pretraining.pretext_network import PretextNetwork
from nnunet_genesis.pretraining.run import can_be_fused
from nnunet_genesis.pretraining.run_files import RunFiles
from nnunet_genesis.pretraining.validation import Baselines
from tests.commands import genesis, pretrain
from tests.preprocessed import smooth_cases, write_dataset
from tests.reliability.faults import break_steps, collapse

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.effort import Effort

BASELINES = Baselines(identity=2.0, blurred=1.0, constant=1.5)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A command on a tiny dataset, of 24 steps; results go to ``out``."""
    write_dataset(tmp_path, smooth_cases(4, (8, 16, 16)), (4, 8, 8), monkeypatch)
    epochs = ("--epochs", "4", "--iterations-per-epoch", "6")
    return ["777", "-device", "cpu", "-np", "0", *epochs, "--output", tmp_path / "out"]


def final(tmp_path: Path, folder: str = "out") -> dict[str, Any]:
    return checkpoint.read(tmp_path / folder / "checkpoint_final.pth")


def log(tmp_path: Path) -> str:
    return "".join(file.read_text() for file in sorted((tmp_path / "out").glob("pretraining_log_*.txt")))


def test_single_steps_are_skipped_counted_and_shown(
    run: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    effort: Effort,
) -> None:
    broken = {0, 7, 8, 23} if effort.torture else {0, 7, 8}
    break_steps(monkeypatch, broken)
    assert pretrain(*run) == 0
    content = final(tmp_path)
    assert all(weights.isfinite().all() for weights in content["network_weights"].values())
    told = content["genesis"]["divergence"]
    assert (told["skipped_steps"], told["went_back"]) == (len(broken), [])
    history = content["genesis"]["history"]
    assert [entry["skipped_steps"] for entry in history[:3]] == [1, 2, 0]
    assert all(0 < entry["train_loss"] < 100 for entry in history), "means are of the steps that were learned from"
    with (tmp_path / "out" / "progress.csv").open() as stream:
        assert [row["skipped_steps"] for row in csv.DictReader(stream)][:2] == ["1", "2"]
    assert "1 step(s) skipped, 1 in all" in log(tmp_path)
    capsys.readouterr()
    assert genesis("inspect", tmp_path / "out" / "checkpoint_final.pth") == 0
    assert f"skipped steps: {len(broken)}" in capsys.readouterr().out
    effort.record("skipped_steps", {"broken": len(broken), "skipped": told["skipped_steps"]})


def test_a_rate_that_truly_diverges_goes_back_once_and_then_ends_with_advice(
    run: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(*run, "--lr", "1e6") == 1
    error = capsys.readouterr().err
    assert "training diverged" in error
    assert "a lower learning rate did not help" in error
    assert "--lr 10000 --overwrite" in error
    assert log(tmp_path).count("It went back to the weights of step 0; from now on learning rates are 0.1 times") == 1
    latest = checkpoint.read(tmp_path / "out" / "checkpoint_latest.pth")
    assert all(weights.abs().max() < 100 for weights in latest["network_weights"].values()), "the last good one"


def test_a_run_that_went_back_is_continued_bit_for_bit(
    run: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    effort: Effort,
) -> None:
    broken = range(7, 14)
    break_steps(monkeypatch, broken)
    assert pretrain(*run, "--save-every-epochs", "1") == 0
    undisturbed = final(tmp_path)
    (back,) = undisturbed["genesis"]["divergence"]["went_back"]
    assert (back["step"], back["to_step"]) == (12, 6), "where saves and checks are, not where the clock stood"
    rates = [entry["learning_rate"] for entry in undisturbed["genesis"]["history"]]
    assert rates[1:] == pytest.approx([1e-4 * (1 - step / 24) ** 0.9 for step in (11, 17, 23)])
    capsys.readouterr()
    assert genesis("inspect", tmp_path / "out" / "checkpoint_final.pth") == 0
    assert "diverged at step 12: went back to the weights of step 6" in capsys.readouterr().out

    # Stopped amid the steps that are skipped (full length), and after it went back.
    stopped = [*run[:-1], tmp_path / "stopped", "--save-every-epochs", "1"]
    for stop_at in (13, 20)[-effort.times(1, 2) :]:
        break_steps(monkeypatch, StopsAt(broken, stop_at))
        assert pretrain(*stopped, "--c") == 75
    break_steps(monkeypatch, broken)
    assert pretrain(*stopped, "--c") == 0
    continued = final(tmp_path, "stopped")
    assert continued["genesis"]["divergence"] == undisturbed["genesis"]["divergence"]
    for name, weights in undisturbed["network_weights"].items():
        assert torch.equal(weights, continued["network_weights"][name]), name


class StopsAt:
    """The same steps; the scheduler's signal comes at one of them."""

    def __init__(self, steps: range, stop_at: int) -> None:
        self.steps, self.stop_at = steps, stop_at

    def __contains__(self, step: object) -> bool:
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return step in self.steps


def make_guard(
    tmp_path: Path, *, fused: bool | None = None, record: DivergenceRecord | None = None
) -> tuple[DivergenceGuard, nn.Linear]:
    torch.manual_seed(0)
    fabric = Fabric(accelerator="cpu", devices=1)
    network = nn.Linear(3, 1)
    config = PretrainingConfig("models-genesis", 2)
    _, optimizer = fabric.setup(network, build_optimizer(network, config, fused=fused))
    guard = DivergenceGuard(
        fabric,
        config,
        network=PretextNetwork(network, None),
        optimizer=optimizer,
        latest=tmp_path / "checkpoint_latest.pth",
        baselines=BASELINES,
        record=record or DivergenceRecord(),
    )
    return guard, network


def take_step(guard: DivergenceGuard, network: nn.Linear, factor: float) -> None:
    """One step whose loss is of the size of `factor`."""
    loss = guard.mark(factor * network(torch.ones(3)).square().mean() / network(torch.ones(3)).square().mean().detach())
    guard.optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
    guard.step(loss, norm)


@pytest.mark.parametrize("fused", [None, True])
def test_a_skipped_step_changes_neither_weights_nor_optimizer(tmp_path: Path, fused: bool | None) -> None:
    """The host's way, and the kernel's, which CUDA has: both leave everything as if the step had not been."""
    guard, network = make_guard(tmp_path, fused=fused)
    reference, expected = make_guard(tmp_path, fused=fused)
    worst = EXPLODING * BASELINES.identity
    for number, factor in enumerate((1.0, torch.nan, 1.5, torch.inf, 1.01 * worst, 0.99 * worst, 2.0)):
        take_step(guard, network, factor)
        if number in (1, 3, 4):
            assert guard.read(number).in_a_row == (2 if number == 4 else 1)
        else:
            take_step(reference, expected, factor)
            assert guard.read(number).in_a_row == 0
        for ours, theirs in zip(network.parameters(), expected.parameters(), strict=True):
            assert torch.equal(ours, theirs), number
    assert guard.record.skipped_steps == 3
    ours, theirs = guard.optimizer.state_dict()["state"], reference.optimizer.state_dict()["state"]
    assert all(torch.equal(ours[key][name], theirs[key][name]) for key in ours for name in ours[key])


@pytest.mark.parametrize(
    ("device", "precision", "fused"),
    [
        ("cuda", "32-true", True),
        ("cuda", "bf16-mixed", True),  # Fabric's precision has a scaler that is None
        ("cuda", "16-mixed", None),
        ("cpu", "bf16-mixed", None),
    ],
)
def test_only_a_scaler_keeps_the_kernel_away_from_a_gpu(device: str, precision: Any, fused: bool | None) -> None:
    if precision == "16-mixed":  # which Fabric gives to GPUs alone
        scaled = MixedPrecision(precision, "cuda", scaler=torch.amp.GradScaler("cpu"))
        assert can_be_fused(device, scaled) is fused
        return
    plugin = Fabric(accelerator="cpu", devices=1, precision=precision).strategy.precision
    assert can_be_fused(device, plugin) is fused


def test_a_save_that_fell_on_a_skipped_step_is_due_again(tmp_path: Path) -> None:
    guard, network = make_guard(tmp_path)
    files = RunFiles(tmp_path, {}, {})
    for in_a_row, saved in ((1, False), (0, True)):
        state = TrainingState(step=7, divergence=DivergenceRecord(in_a_row=in_a_row))
        told = save_latest(
            guard.fabric,
            PretextNetwork(network, None),
            guard.optimizer,
            state=state,
            baselines=BASELINES,
            files=files,
            stop=StopRequest(),
            must=False,
        )
        assert told is saved
        assert (tmp_path / checkpoint.LATEST_NAME).exists() is saved


def test_a_state_moves_between_kernels(tmp_path: Path) -> None:
    """A checkpoint of a GPU continues on a CPU and the other way round, each with its own way to skip."""
    for before, after in ((None, True), (True, None)):
        guard, network = make_guard(tmp_path, fused=before)
        take_step(guard, network, 1.0)
        stored = {"heads": {}, "optimizer": guard.optimizer.state_dict(), "scaler": {}}
        other, network = make_guard(tmp_path, fused=after)
        content = {"network_weights": network.state_dict(), "training_state": stored}
        restore_learned(other.fabric, other.network, other.optimizer, content)
        assert [group["fused"] for group in other.optimizer.param_groups] == [after]
        weights = network.weight.clone()
        take_step(other, network, torch.nan)
        assert torch.equal(network.weight, weights)
        take_step(other, network, 1.0)
        assert not torch.equal(network.weight, weights)


class Scaler:
    """What 16-mixed has on a GPU, of which there is none here: its scale, and that it skips by itself."""

    scale = 65536.0

    def get_scale(self) -> float:
        return self.scale


def test_a_scaler_that_looks_for_its_scale_is_not_divergence(tmp_path: Path) -> None:
    guard, network = make_guard(tmp_path)
    guard.scaler = Scaler()
    loss = guard.mark(network(torch.ones(3)).square().mean())
    for _ in range(10):
        guard.step(loss, torch.tensor(torch.inf))
    assert (guard.read(10).skipped_steps, guard.record.in_a_row) == (0, 0)
    guard.step(guard.mark(loss * torch.nan), torch.tensor(torch.nan))
    assert (guard.read(11).skipped_steps, guard.record.in_a_row) == (1, 1)
    guard.scaler.scale = 0.5
    guard.record.went_back.append({"step": 5, "to_step": 0, "reason": "told before"})
    with pytest.raises(GenesisError, match="training diverged"):
        guard.check(12)


def test_what_explodes_is_told_by_the_beginning_too(tmp_path: Path) -> None:
    """Images of tiny values have tiny baselines: an untrained network is far above them, and must be let learn."""
    guard, network = make_guard(tmp_path)
    guard.worst_baseline = 1e-6
    take_step(guard, network, 2.0)
    assert guard.read(1).skipped_steps == 0
    assert guard.limit == pytest.approx(2 * EXPLODING)


def entries(losses: list[float], contrasts: list[float]) -> list[dict[str, Any]]:
    return [
        {"epoch": number, "val_loss": loss, "contrast": contrast}
        for number, (loss, contrast) in enumerate(zip(losses, contrasts, strict=True))
    ]


@pytest.mark.parametrize(
    ("loss", "contrast", "problem"),
    [
        (1.2, 0.01, "almost constant"),
        (1.6, 0.4, "no better than their mean value"),
        (1.2, 0.4, None),
        (1.2, float("nan"), None),
    ],
)
def test_collapse_needs_several_epochs(loss: float, contrast: float, problem: str | None) -> None:
    several = EPOCHS_IN_A_ROW
    assert find_collapse(entries([loss] * (several - 1), [contrast] * (several - 1)), BASELINES) is None
    found = find_collapse(entries([loss] * several, [contrast] * several), BASELINES)
    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")
    recovered = entries([loss] * several + [1.0], [contrast] * several + [0.5])
    assert find_collapse(recovered, BASELINES) is None


def test_a_warning_tells_the_training_loss_and_both_ways_out(caplog: pytest.LogCaptureFixture) -> None:
    """With one held-out scan that is unlike the others, training falls while validation does not."""
    history = [{**entry, "train_loss": 0.4321} for entry in entries([1.6] * EPOCHS_IN_A_ROW, [0.4] * EPOCHS_IN_A_ROW)]
    with caplog.at_level("WARNING"):
        assert warn_of_collapse(history, BASELINES)
    assert all(text in caplog.text for text in ("training 0.4321", "--val-fraction", "--lr"))


@pytest.mark.slow
def test_a_network_that_learned_a_constant_is_reported_once(
    run: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collapse(monkeypatch)
    assert pretrain(*run[:-2], "--epochs", "9", "--lr", "1e-2", *run[-2:]) == 0
    history = final(tmp_path)["genesis"]["history"]
    assert history[-1]["contrast"] < history[0]["contrast"]
    assert [entry["collapsed"] for entry in history[: EPOCHS_IN_A_ROW - 1]] == [False] * (EPOCHS_IN_A_ROW - 1)
    assert history[-1]["collapsed"]
    assert log(tmp_path).count("the network has learned nothing yet") == 1
