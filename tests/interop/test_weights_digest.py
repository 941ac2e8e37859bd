"""The checksum tells weights apart, and does not tell apart how they are stored."""

from __future__ import annotations

import pytest
import torch

from nnunet_genesis.weights_digest import weights_digest

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.tensor(2, dtype=torch.int64)}


def test_order_and_layout_do_not_matter() -> None:
    turned = {"b.bias": WEIGHTS["b.bias"].clone(), "a.weight": torch.arange(6.0).view(2, 3).t().contiguous().t()}
    assert not turned["a.weight"].is_contiguous()
    assert weights_digest(turned) == weights_digest(WEIGHTS)
    assert len(weights_digest(WEIGHTS)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"a.weight": torch.tensor([[0.0, 1, 2], [3, 4, 5.0000005]])},
        {"a.weight": torch.arange(6.0).view(3, 2)},
        {"a.weight": torch.arange(6.0).view(2, 3).view(torch.int32)},
        {"b.bias": torch.tensor([2])},
        {"c": torch.zeros(0)},
    ],
    ids=["one bit", "shape", "type", "rank", "an empty tensor more"],
)
def test_every_change_shows(change: dict[str, torch.Tensor]) -> None:
    assert weights_digest({**WEIGHTS, **change}) != weights_digest(WEIGHTS)


def test_values_under_another_name_are_other_weights() -> None:
    one, other = {"a": torch.ones(2), "b": torch.zeros(2)}, {"a": torch.zeros(2), "b": torch.ones(2)}
    assert weights_digest(one) != weights_digest(other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.uint8])
def test_all_types_have_a_checksum(dtype: torch.dtype) -> None:
    ones, zeros = {"a": torch.ones(3, dtype=dtype)}, {"a": torch.zeros(3, dtype=dtype)}
    assert weights_digest(ones) != weights_digest(zeros)
    assert weights_digest(ones) == weights_digest({"a": torch.ones(3, dtype=dtype).requires_grad_(False)})
