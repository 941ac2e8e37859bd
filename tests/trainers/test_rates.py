"""Schedules on real networks and optimisers: what moves, what does not, and what a continued run repeats."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from nnunet_genesis.errors import SetupError
from nnunet_genesis.trainers.rates import EpochRates, encoder_of, enter_epoch, group_parameters, set_trainable
from nnunet_genesis.trainers.schedules import SAWTOOTH, WARMUP, Schedule, settings_of_epoch
from tests.transfer.networks import build, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

EPOCHS = 8  # of a sawtooth: 1 up and 1 down with the decoder, 1 up, 5 down


class Run:
    """Training as nnU-Net's trainer does it: one optimiser, a scheduler stepped per epoch, two steps per epoch."""

    def __init__(self, schedule: Schedule, network: nn.Module, weight_decay: float = 3e-5) -> None:
        self.network = network
        self.optimizer = torch.optim.SGD(
            group_parameters(network, schedule),
            schedule.peak,
            weight_decay=weight_decay,
            momentum=0.99,
            nesterov=True,
        )
        self.rates = EpochRates(self.optimizer, schedule, EPOCHS)
        set_trainable(encoder_of(network), trains=self.rates.settings(0).trains_encoder)

    def train(self, epochs: Iterable[int]) -> None:
        for epoch in epochs:
            self.network = enter_epoch(self.network, self.optimizer, self.rates.settings(epoch))
            self.rates.step(epoch)
            for step in range(2):
                image = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(10 * epoch + step))
                self.optimizer.zero_grad(set_to_none=True)
                self.network(image).square().mean().backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), 12)
                self.optimizer.step()


def moved(before: dict[str, torch.Tensor], network: nn.Module) -> set[str]:
    """Encoder and decoder, where any of their tensors changed."""
    return {name.split(".")[0] for name, tensor in snapshot(network).items() if not torch.equal(tensor, before[name])}


def store(run: Run) -> dict[str, Any]:
    """What nnU-Net's checkpoint holds, through a file."""
    buffer = io.BytesIO()
    torch.save({"network": run.network.state_dict(), "optimizer": run.optimizer.state_dict()}, buffer)
    buffer.seek(0)
    content: dict[str, Any] = torch.load(buffer, weights_only=True)
    return content


@pytest.mark.parametrize("residual", [False, True])
def test_groups_hold_every_parameter_once(residual: bool) -> None:
    network = build(residual=residual)
    for schedule in (Schedule(WARMUP), Schedule(layerwise=True)):
        groups = group_parameters(network, schedule)
        held = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(held) == sorted(id(parameter) for parameter in network.parameters())
        assert groups[0]["name"] == "decoder"
        assert not {id(p) for p in groups[0]["params"]} & {id(p) for p in encoder_of(network).parameters()}
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    staged = group_parameters(network, Schedule(layerwise=True))[1:]
    for number, group in enumerate(staged):
        parts = {names[id(parameter)].rsplit(f"stages.{number}.", 1)[0] for parameter in group["params"]}
        assert {part for part in parts if "stem" not in part} == {"encoder."}
    first = [names[id(parameter)] for parameter in staged[0]["params"]]
    assert any("stem" in name for name in first) == residual
    assert [group["factor"] for group in staged] == pytest.approx([0.75**3, 0.75**2, 0.75])


def test_layerwise_rates_reach_the_optimiser() -> None:
    run = Run(Schedule(WARMUP, layerwise=True), build())
    run.rates.step(0)
    assert [group["lr"] for group in run.optimizer.param_groups] == pytest.approx(
        [1e-3, 1e-3 * 0.75**3, 1e-3 * 0.75**2, 1e-3 * 0.75]
    )


def test_sawtooth_trains_the_decoder_first_and_then_everything() -> None:
    run = Run(Schedule(SAWTOOTH), build())
    before = snapshot(run.network)
    run.train(range(2))
    assert moved(before, run.network) == {"decoder"}
    assert not any(parameter in run.optimizer.state for parameter in encoder_of(run.network).parameters())
    before = snapshot(run.network)
    run.train([2])
    assert moved(before, run.network) == {"encoder", "decoder"}


@pytest.mark.parametrize("shape", ["standard", WARMUP])
def test_frozen_parameters_get_no_weight_decay_and_no_momentum(shape: str) -> None:
    run = Run(Schedule(shape, frozen=True), build(), weight_decay=0.5)
    before = snapshot(run.network)
    run.train(range(EPOCHS))
    assert moved(before, run.network) == {"decoder"}
    assert all(parameter.grad is None for parameter in encoder_of(run.network).parameters())
    assert not any(parameter in run.optimizer.state for parameter in encoder_of(run.network).parameters())


def test_momentum_of_the_decoder_is_dropped_where_the_encoder_begins() -> None:
    run = Run(Schedule(SAWTOOTH), build())
    run.train(range(2))
    assert run.optimizer.state
    fresh = Run(Schedule(SAWTOOTH), copy.deepcopy(run.network))  # no momentum at all
    for one in (run, fresh):
        one.train([2])
    for name, tensor in snapshot(run.network).items():
        assert torch.equal(tensor, snapshot(fresh.network)[name]), name
    # Elsewhere it is kept.
    fresh = Run(Schedule(SAWTOOTH), copy.deepcopy(run.network))
    for one in (run, fresh):
        one.train([3])
    assert moved(snapshot(fresh.network), run.network) == {"encoder", "decoder"}


@pytest.mark.parametrize(
    "schedule", [Schedule(SAWTOOTH), Schedule(SAWTOOTH, layerwise=True), Schedule(WARMUP), Schedule(frozen=True)]
)
def test_a_run_continued_after_any_epoch_is_the_same(schedule: Schedule) -> None:
    undisturbed = Run(schedule, build(seed=3))
    stored = []
    for epoch in range(EPOCHS):
        undisturbed.train([epoch])
        stored.append(store(undisturbed))
    for epoch in range(EPOCHS - 1):
        continued = Run(schedule, build(seed=4))
        continued.network.load_state_dict(stored[epoch]["network"])
        continued.optimizer.load_state_dict(stored[epoch]["optimizer"])
        continued.train(range(epoch + 1, EPOCHS))
        assert moved(snapshot(undisturbed.network), continued.network) == set(), f"continued after epoch {epoch}"
        rates = [[group["lr"] for group in run.optimizer.param_groups] for run in (undisturbed, continued)]
        assert rates[0] == rates[1]


def test_networks_without_an_encoder_are_refused() -> None:
    with pytest.raises(SetupError, match="Linear has no encoder"):
        group_parameters(nn.Linear(1, 1), Schedule(WARMUP))


def test_a_compiled_network_gets_gradients_where_it_begins_to_train() -> None:
    network = build(features=(2, 4))
    compiled = torch.compile(network, backend="aot_eager")  # gradients are traced as by nnU-Net's inductor
    assert isinstance(compiled, nn.Module)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    set_trainable(encoder_of(compiled), trains=False)
    image = torch.randn(2, 1, 4, 4, 4)
    compiled(image).square().mean().backward()
    assert all(parameter.grad is None for parameter in encoder_of(network).parameters())
    entered = enter_epoch(compiled, optimizer, settings_of_epoch(Schedule(), 0, 10))
    assert entered is compiled
    compiled(image).square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder_of(network).parameters())
