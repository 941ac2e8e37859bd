"""Running standardisation: what comes out has mean 0 and deviation 1 over many small batches."""

from __future__ import annotations

import torch
from torch import nn

from nnunet_genesis.pretraining.pretexts.standardization import SLOWEST_UPDATE, RunningStandardization
from tests.pretraining.pretexts.devices import generator


def draw(count: int, seed: int) -> torch.Tensor:
    """Features like those of an instance-normalised stage: means far larger than deviations."""
    return torch.tensor([0.4, -3.0, 0.001]) + torch.tensor([0.02, 0.5, 0.0001]) * torch.randn(
        count, 3, generator=generator(seed)
    )


def test_the_first_hundred_batches_weigh_alike() -> None:
    layer, values = RunningStandardization(3), draw(200, 0).double()
    layer.double()
    for batch in values.split(2):
        layer(batch)
    torch.testing.assert_close(layer.mean.double(), values.mean(0), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(layer.variance.double(), values.var(0, correction=0), rtol=1e-3, atol=1e-9)


def test_later_batches_weigh_a_hundredth() -> None:
    layer = RunningStandardization(3)
    for batch in draw(400, 1).split(2):
        layer(batch)
    before, batch = layer.mean.clone(), draw(2, 2) + 1
    layer(batch)
    torch.testing.assert_close(layer.mean, before + SLOWEST_UPDATE * (batch.mean(0) - before))


def test_features_of_tiny_deviation_are_told_apart() -> None:
    layer = RunningStandardization(3)
    for batch in draw(400, 3).split(2):
        layer(batch)
    layer.eval()
    outputs = layer(draw(1000, 4))
    assert outputs[:, :2].mean(0).abs().max() < 0.3
    torch.testing.assert_close(outputs[:, :2].std(0), torch.ones(2), rtol=0.15, atol=0)


def test_held_out_features_change_nothing_and_half_precision_is_taken() -> None:
    layer = RunningStandardization(3)
    layer(draw(8, 5))
    kept = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.eval()
    assert layer(draw(4, 6).bfloat16()).dtype == torch.float32
    assert all(torch.equal(value, kept[name]) for name, value in layer.state_dict().items())


def test_the_gradient_takes_the_statistics_for_constants() -> None:
    layer = RunningStandardization(3)
    features = draw(4, 7).requires_grad_()
    layer(features).sum().backward()
    assert features.grad is not None
    expected = (layer.variance + 1e-6).rsqrt().expand(4, 3)
    torch.testing.assert_close(features.grad, expected)


def test_a_head_learns_what_it_does_not_learn_without() -> None:
    """Two groups, a quarter of a deviation apart in 32 features, as the modalities of real patches were."""
    sides = torch.randint(2, (400,), generator=generator(8))
    shift = 0.01 * (2 * sides[:, None] - 1.0)
    features = 0.4 + 0.02 * torch.randn(400, 32, generator=generator(9)) + shift

    def accuracy(*before: nn.Module) -> float:
        torch.manual_seed(0)
        head = nn.Sequential(*before, nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        optimizer = torch.optim.AdamW(head.parameters(), 1e-3)
        for step in range(150):
            chosen = torch.randint(400, (4,), generator=generator(100 + step))
            loss = nn.functional.cross_entropy(head(features[chosen]), sides[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        head.eval()
        return float((head(features).argmax(1) == sides).float().mean())

    assert accuracy(RunningStandardization(32)) > 0.9
    assert accuracy() < 0.7


def test_an_overflow_leaves_the_statistics_as_they_are() -> None:
    layer, batch = RunningStandardization(3), draw(4, 10)
    layer(torch.full((4, 3), torch.inf))
    layer(batch)
    kept = layer.mean.clone()
    torch.testing.assert_close(kept, batch.mean(0))
    layer(torch.full((4, 3), torch.nan))
    assert torch.equal(layer.mean, kept)
    layer(batch.clone().index_fill_(1, torch.tensor([1]), torch.inf))
    assert torch.equal(layer.mean, kept), "one feature is enough"
    assert bool(layer.variance.isfinite().all())
