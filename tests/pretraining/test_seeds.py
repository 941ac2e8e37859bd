"""Initial weights follow from the seed and what they are for, and leave torch's global generator alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_genesis.pretraining.seeds import Stream, initial_weights, seed_dropout


def weights(seed: int, stream: Stream, number: int = 0) -> torch.Tensor:
    with initial_weights(seed, stream, number):
        return nn.Linear(3, 4).weight.detach()


def test_weights_are_a_function_of_seed_stream_and_number() -> None:
    first = weights(0, Stream.INITIAL_WEIGHTS)
    torch.manual_seed(8)
    assert torch.equal(weights(0, Stream.INITIAL_WEIGHTS), first)
    for other in (weights(1, Stream.INITIAL_WEIGHTS), weights(0, Stream.HEAD_WEIGHTS), weights(0, Stream(0), 1)):
        assert not torch.equal(other, first)


def test_dropout_draws_the_same_in_the_same_step() -> None:
    def dropped(step: int, rank: int) -> torch.Tensor:
        seed_dropout(3, step, rank)
        return nn.functional.dropout(torch.ones(1000))

    first = dropped(7, 0)
    torch.rand(5)
    assert torch.equal(dropped(7, 0), first)
    assert not torch.equal(dropped(8, 0), first)
    assert not torch.equal(dropped(7, 1), first)


def test_the_global_generator_is_put_back_also_after_an_error() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    weights(0, Stream.INITIAL_WEIGHTS)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError), initial_weights(0, Stream.INITIAL_WEIGHTS):
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)
