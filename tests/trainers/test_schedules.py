"""Schedules are pure functions of the epoch, with the numbers that were published."""

from __future__ import annotations

import itertools

import pytest
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.lr_scheduler.warmup import Lin_incr_LRScheduler, PolyLRScheduler_offset

from nnunet_genesis.trainers.schedules import (
    SAWTOOTH,
    STANDARD,
    WARMUP,
    Schedule,
    describe_schedule,
    list_stages,
    minimum_epochs,
    settings_of_epoch,
    summarise,
)

SHAPES = (STANDARD, WARMUP, SAWTOOTH)


def rates(schedule: Schedule, num_epochs: int) -> list[float]:
    return [settings_of_epoch(schedule, epoch, num_epochs).learning_rate for epoch in range(num_epochs)]


def run_nnunets(scheduler_type: type, epochs: range, *arguments: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = scheduler_type(optimizer, *arguments)
    told = []
    for epoch in epochs:
        scheduler.step(epoch)
        told.append(optimizer.param_groups[0]["lr"])
    return told


def test_standard_is_nnunets_own() -> None:
    # _frozen and _layerwise run on it without nnU-Net's own scheduler.
    assert rates(Schedule(frozen=True), 1000) == pytest.approx(run_nnunets(PolyLRScheduler, range(1000), 1e-2, 1000))


def test_warmup_is_that_of_nnunets_fine_tuning() -> None:
    expected = run_nnunets(Lin_incr_LRScheduler, range(50), 1e-3, 50)
    expected += run_nnunets(PolyLRScheduler_offset, range(50, 1000), 1e-3, 1000, 50)
    assert rates(Schedule(WARMUP), 1000) == pytest.approx(expected)


def test_sawtooth_has_two_teeth() -> None:
    # The decoder's tooth of 25 up and 25 down, then a warm-up of the rest of the run.
    expected = run_nnunets(Lin_incr_LRScheduler, range(25), 1e-3, 25)
    expected += run_nnunets(PolyLRScheduler, range(25), 1e-3, 25)
    expected += run_nnunets(Lin_incr_LRScheduler, range(50), 1e-3, 50)
    expected += run_nnunets(PolyLRScheduler, range(900), 1e-3, 900)
    assert rates(Schedule(SAWTOOTH), 1000) == pytest.approx(expected)
    settings = [settings_of_epoch(Schedule(SAWTOOTH), epoch, 1000) for epoch in range(1000)]
    assert [entry.trains_encoder for entry in settings] == [False] * 50 + [True] * 950
    assert [epoch for epoch, entry in enumerate(settings) if entry.clears_momentum] == [50]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_epochs", [1, 4, 5, 10, 20, 37, 50, 100, 150, 250, 1000, 4000])
def test_stages_keep_their_shares_and_leave_no_gap(shape: str, num_epochs: int) -> None:
    schedule = Schedule(shape)
    num_epochs = max(num_epochs, minimum_epochs(schedule))
    stages = list_stages(schedule, num_epochs)
    first = 0
    for stage in stages:
        assert stage.first_epoch == first
        assert stage.num_epochs >= 1
        first += stage.num_epochs
    assert first == num_epochs
    assert len(stages) == {STANDARD: 1, WARMUP: 2 if num_epochs > 1 else 1, SAWTOOTH: 4}[shape]
    if num_epochs >= 100 and shape != STANDARD:
        assert stages[-2].num_epochs == pytest.approx(0.05 * num_epochs, abs=0.5)
    told = rates(schedule, num_epochs)
    assert max(told) == pytest.approx(schedule.peak)
    assert min(told) > 0
    assert len(told) == num_epochs


@pytest.mark.parametrize("shape", SHAPES)
def test_rates_never_jump_up(shape: str) -> None:
    told = [0.0, *rates(Schedule(shape), 1000)]
    rises = [after - before for before, after in itertools.pairwise(told) if after > before]
    # Nothing rises faster than a linear rise does; nnU-Net's own schedule starts at its peak.
    assert max(rises) == pytest.approx(1e-2 if shape == STANDARD else 1e-3 / (25 if shape == SAWTOOTH else 50))


def test_frozen_never_trains_the_encoder_and_keeps_its_momentum() -> None:
    for shape in (STANDARD, WARMUP):
        for epoch in range(100):
            settings = settings_of_epoch(Schedule(shape, frozen=True), epoch, 100)
            assert not settings.trains_encoder
            assert not settings.clears_momentum
        assert rates(Schedule(shape, frozen=True), 100) == rates(Schedule(shape), 100)


def test_layerwise_rates_fall_towards_the_stem() -> None:
    factors = Schedule(layerwise=True).encoder_factors(6)
    assert factors == pytest.approx([0.75**6, 0.75**5, 0.75**4, 0.75**3, 0.75**2, 0.75])
    assert Schedule().encoder_factors(3) == (1, 1, 1)


def test_later_epochs_than_the_last_are_the_last() -> None:
    # nnU-Net loads a finished run's checkpoint with the epoch after the last.
    assert settings_of_epoch(Schedule(WARMUP), 100, 100) == settings_of_epoch(Schedule(WARMUP), 99, 100)


def test_a_schedule_in_words() -> None:
    line = summarise(Schedule(SAWTOOTH, layerwise=True), 100)
    assert line == (
        "sawtooth, peak 0.001, each encoder stage at 0.75 of the next deeper one:"
        " decoder only, linear up (epochs 0 to 2); decoder only, poly down (epochs 3 to 5);"
        " whole network, linear up (epochs 6 to 10);"
        " whole network, poly down (epochs 11 to 99)"
    )
    assert summarise(Schedule(), 1000) == (
        "standard (nnU-Net's own), peak 0.01: whole network, poly down (epochs 0 to 999)"
    )
    record = describe_schedule(Schedule(WARMUP, frozen=True), 20)
    assert record["encoder_frozen"] is True
    assert record["stages"] == ["decoder only, linear up (epoch 0)", "decoder only, poly down (epochs 1 to 19)"]
