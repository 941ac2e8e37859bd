"""The trainer's hooks on a small network, without nnU-Net's folders."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch import nn

from nnunet_genesis import trainers
from nnunet_genesis.errors import SetupError, TransferError
from nnunet_genesis.trainers.initial_weights import load_pretrained_weights
from nnunet_genesis.trainers.initialization_record import INIT_FILE, read_initialization
from nnunet_genesis.trainers.leaks import REFUSE_VARIABLE
from tests.planned import CT_STATISTICS
from tests.transfer.networks import build, describe, snapshot

if TYPE_CHECKING:
    from pathlib import Path


class Log:
    """Stands for nnU-Net's logger."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def log(self, key: str, value: float, epoch: int) -> None:
        assert (key, epoch) == ("lrs", len(self.rates))
        self.rates.append(value)


def make_trainer(tokens: str, network: nn.Module | None = None) -> Any:
    """A trainer as nnU-Net has it after its initialisation, as far as schedules go."""
    trainer_class = getattr(trainers, f"nnUNetTrainerGenesis{tokens}")
    trainer = object.__new__(trainer_class)
    recipe = trainer_class.recipe
    trainer.network = network or build()
    trainer.initial_lr, trainer.weight_decay, trainer.num_epochs = recipe.schedule.peak, 3e-5, recipe.epochs or 1000
    trainer.current_epoch, trainer.local_rank, trainer.logger = 0, 0, Log()
    trainer.print_to_log_file = lambda *_, **__: None
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    return trainer


def test_a_continued_training_says_again_what_its_beginning_had_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(REFUSE_VARIABLE, raising=False)
    lines: list[str] = []
    trainer = make_trainer("")
    trainer.fold, trainer.output_folder = 0, str(tmp_path)
    trainer.print_to_log_file = lambda line, **_: lines.append(line)
    trainer._go_on({"initialization": "scratch"})
    assert lines == []
    (tmp_path / INIT_FILE).unlink()
    began = {
        "file": "/pretraining/checkpoint_final.pth",
        "validation_cases_seen_in_pretraining": ["case_1"],
        "test_cases_not_checked": ["no raw images"],
    }
    trainer._go_on(began)
    assert lines[0] == "nnunet-genesis: this training began from /pretraining/checkpoint_final.pth"
    assert "pretraining saw 1 validation case(s) of fold 0, the first is case_1" in lines[1]
    assert "could not be fully checked: no raw images" in lines[2]
    monkeypatch.setenv(REFUSE_VARIABLE, "1")
    with pytest.raises(SetupError, match="saw 1 validation case"):
        trainer._go_on(began)


def test_a_beginning_that_is_not_recorded_is_told_and_refused_where_leaks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REFUSE_VARIABLE, raising=False)
    for tokens, refused in (("", True), ("_scratch", False)):
        lines: list[str] = []
        trainer = make_trainer(tokens)
        trainer.fold, trainer.print_to_log_file = 0, lambda line, to=lines, **_: to.append(line)
        trainer._go_on(None)
        assert "WARNING: neither the checkpoint nor genesis_init.json says how this training began" in lines[0]
        assert len(lines) == 1 + refused
        with monkeypatch.context() as environment:
            environment.setenv(REFUSE_VARIABLE, "1")
            with pytest.raises(SetupError, match="is not recorded") if refused else nullcontext():
                trainer._go_on(None)


def enter_epochs(trainer: Any, count: int) -> list[bool]:
    """Begin epochs; returns whether the encoder trains in each."""
    trains = []
    for epoch in range(count):
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        encoder = trainer.network.get_submodule("encoder")
        trains.append(all(parameter.requires_grad for parameter in encoder.parameters()))
        assert encoder.training == trains[-1]
        assert trainer.network.get_submodule("decoder.seg_layers").training
    return trains


@pytest.mark.parametrize("tokens", ["", "_scratch", "_full_20epochs"])
def test_the_standard_schedule_is_nnunets_own_code(tokens: str) -> None:
    trainer = make_trainer(tokens)
    assert type(trainer.lr_scheduler) is PolyLRScheduler
    assert len(trainer.optimizer.param_groups) == 1
    assert enter_epochs(trainer, 3) == [True] * 3


def test_epochs_of_a_sawtooth() -> None:
    trainer = make_trainer("_sawtooth_5epochs")
    assert enter_epochs(trainer, 5) == [False, False, True, True, True]
    assert trainer.logger.rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 1e-3 * 0.5**0.9])


def test_statistics_of_a_frozen_batch_norm_stay() -> None:
    network = build()
    encoder = network.get_submodule("encoder")
    encoder.register_module("norm", nn.BatchNorm3d(1))
    trainer = make_trainer("_frozen", network)
    enter_epochs(trainer, 1)
    encoder.get_submodule("norm")(torch.randn(2, 1, 4, 4, 4) + 5)
    assert encoder.get_submodule("norm").state_dict()["running_mean"].item() == 0


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What loading needs of a trainer; the named file holds other weights of the same network."""
    torch.save(build(seed=1).state_dict(), tmp_path / "weights.pth")
    monkeypatch.setenv("nnUNet_genesis_checkpoint", str(tmp_path / "weights.pth"))
    return SimpleNamespace(
        network=build(seed=2),
        output_folder_base=str(tmp_path / "Dataset001_Test" / "trainer"),
        configuration_name="3d_fullres",
        plans_manager=SimpleNamespace(
            plans_name="nnUNetPlans",
            dataset_name="Dataset001_Test",
            foreground_intensity_properties_per_channel={"0": CT_STATISTICS},
        ),
        configuration_manager=SimpleNamespace(
            configuration={"architecture": describe()}, spacing=[1.0, 1.0, 1.0], normalization_schemes=["Z"]
        ),
        dataset_json={"channel_names": {"0": "CT"}},
        fold="all",
        local_rank=0,
    )


def equal_parts(network: nn.Module, other: nn.Module) -> dict[str, bool]:
    ours, theirs = snapshot(network), snapshot(other)
    parts: dict[str, bool] = {}
    for name in ours:
        part = "heads" if "seg_layers" in name else name.split(".")[0] if "decoder.encoder" not in name else "encoder"
        parts[part] = parts.get(part, True) and torch.equal(ours[name], theirs[name])
    return parts


@pytest.mark.parametrize("full", [False, True])
def test_full_loads_the_decoder_without_its_heads_and_warns(stub: Any, full: bool) -> None:
    record, lines = load_pretrained_weights(stub, full=full)
    assert equal_parts(stub.network, build(seed=1)) == {"encoder": True, "decoder": full, "heads": False}
    assert equal_parts(stub.network, build(seed=2)) == {"encoder": False, "decoder": not full, "heads": True}
    assert record["initialization"] == ("pretrained encoder and decoder" if full else "pretrained encoder")
    assert any(line.startswith("WARNING: _full loads the decoder") for line in lines) == full
    assert "100 % of the encoder's parameters" in "\n".join(lines)


def test_a_file_without_a_decoder_is_no_start_for_full(stub: Any, tmp_path: Path) -> None:
    weights = build(seed=1).state_dict()
    encoder = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    torch.save(encoder, tmp_path / "weights.pth")
    with pytest.raises(TransferError, match=r"the decoder was to be loaded, too .* fills 0 % of it") as raised:
        load_pretrained_weights(stub, full=True)
    assert "the same trainer without _full" in str(raised.value)
    assert set(equal_parts(stub.network, build(seed=2)).values()) == {True}, "nothing was loaded"
    record, _ = load_pretrained_weights(stub, full=False)
    assert record["initialization"] == "pretrained encoder"


@pytest.mark.parametrize(
    ("variable", "value"), [("nnUNet_genesis_minimum_share", "0.1"), ("nnUNet_genesis_allow_partial", "1")]
)
def test_half_of_a_decoder_needs_to_be_allowed(
    stub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    weights = build(seed=1).state_dict()
    kept = {name: tensor for name, tensor in weights.items() if "transpconvs" not in name}
    torch.save(kept, tmp_path / "weights.pth")
    with pytest.raises(TransferError, match=r"at least 90 % are needed") as raised:
        load_pretrained_weights(stub, full=True)
    assert "    decoder.transpconvs.0.weight: " in str(raised.value)
    assert "encoder.stages" not in str(raised.value)
    assert "export nnUNet_genesis_allow_partial=1" in str(raised.value)
    monkeypatch.setenv(variable, value)
    record, lines = load_pretrained_weights(stub, full=True)
    share = record["transfer"]["decoder_share"]
    assert 0.1 < share < 0.9
    assert f"100 % of the encoder's parameters, {100 * share:.4g} % of the decoder's" in "\n".join(lines)


def test_what_a_run_began_with_is_found(tmp_path: Path) -> None:
    assert read_initialization(tmp_path) is None
    for content, told in (({"seed": 5}, {"seed": 5}), ({}, {}), ([], None)):
        (tmp_path / INIT_FILE).write_text(json.dumps(content))
        assert read_initialization(str(tmp_path)) == told
    (tmp_path / INIT_FILE).write_text('{"seed": 5')
    assert read_initialization(tmp_path) is None
