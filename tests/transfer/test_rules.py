"""Each rule keeps the function that a layer computes, for the inputs that the rule names."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from nnunet_genesis.transfer.rules import MisfitError, fit


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def fitted(weight: torch.Tensor, *shape: int, image_channels: int | None = None) -> tuple[torch.Tensor, str]:
    result = fit(weight, torch.zeros(*shape, dtype=weight.dtype), is_convolution=True, image_channels=image_channels)
    assert result.num_random == 0
    return result.values, "; ".join(result.rules)


def response(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    padding = [side // 2 for side in weight.shape[2:]]
    return (conv3d if weight.ndim == 5 else conv2d)(image, weight, padding=padding)


@pytest.mark.parametrize(("old", "new"), [(1, 4), (4, 1), (2, 4), (4, 2), (3, 3)])
def test_channels_that_are_equal_give_the_same_response(old: int, new: int) -> None:
    weight = random(5, old, 3, 3, 3)
    adapted, rules = fitted(weight, 5, new, 3, 3, 3, image_channels=new)
    image = random(2, 1, 8, 9, 7, seed=1)
    expected = response(image.expand(-1, old, -1, -1, -1), weight)
    torch.testing.assert_close(response(image.expand(-1, new, -1, -1, -1), adapted), expected)
    assert rules == ("" if old == new else f"input channels {old} to {new}")
    assert torch.equal(adapted, weight) == (old == new)


def test_channels_of_the_previous_stage_start_at_zero() -> None:
    """A cascade: two images and three one-hot channels respond as the two images alone, whatever the one-hot says."""
    weight = random(5, 2, 3, 3, 3)
    adapted, rules = fitted(weight, 5, 5, 3, 3, 3, image_channels=2)
    image, one_hot = random(1, 2, 6, 6, 6, seed=1), random(1, 3, 6, 6, 6, seed=2)
    torch.testing.assert_close(response(torch.cat([image, one_hot], 1), adapted), response(image, weight))
    assert rules == "3 channels of the previous stage start at zero"
    from_one, _ = fitted(random(5, 1, 3, 3, 3, seed=3), 5, 5, 3, 3, 3, image_channels=2)
    both = image[:, :1].expand(-1, 2, -1, -1, -1)
    expected = response(image[:, :1], random(5, 1, 3, 3, 3, seed=3))
    torch.testing.assert_close(response(torch.cat([both, one_hot], 1), from_one), expected)


@pytest.mark.parametrize(
    ("old", "new"), [((1, 3, 3), (3, 3, 3)), ((3, 3, 3), (5, 3, 5)), ((1, 1, 1), (1, 5, 3)), ((3, 3), (5, 3))]
)
def test_a_longer_kernel_computes_exactly_the_same(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    weight, image = random(4, 2, *old), random(1, 2, *[9, 8, 7][: len(old)], seed=1)
    adapted, rules = fitted(weight, 4, 2, *new)
    torch.testing.assert_close(response(image, adapted), response(image, weight))
    assert rules == f"kernel {'x'.join(map(str, old))} to {'x'.join(map(str, new))}"


@pytest.mark.parametrize(
    ("old", "new", "constant"),
    [((3, 3, 3), (1, 3, 3), 0), ((3, 3, 3), (3, 3, 1), 2), ((5, 3, 3), (3, 3, 3), 0), ((7, 3, 3), (3, 3, 3), 0)],
)
def test_a_shorter_kernel_responds_the_same_to_what_is_constant_along_it(
    old: tuple[int, ...], new: tuple[int, ...], constant: int
) -> None:
    """Away from the border, where padding is not constant."""
    weight, image = random(4, 2, *old), random(1, 2, 12, 12, 12, seed=1)
    image = image.narrow(2 + constant, 0, 1).expand_as(image)
    adapted, _ = fitted(weight, 4, 2, *new)
    inside = (..., slice(4, -4), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(response(image, adapted)[inside], response(image, weight)[inside])
    assert torch.isclose(adapted.sum(), weight.sum())


def test_one_axis_shorter_and_another_longer() -> None:
    """From 3 x 3 x 1 to 1 x 3 x 3, on images that are constant along the first axis."""
    weight, image = random(4, 2, 3, 3, 1), random(1, 2, 1, 9, 9, seed=1).expand(-1, -1, 12, -1, -1)
    adapted, rules = fitted(weight, 4, 2, 1, 3, 3)
    torch.testing.assert_close(response(image, adapted)[:, :, 2:-2], response(image, weight)[:, :, 2:-2])
    assert rules == "kernel 3x3x1 to 1x3x3"


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3)])
def test_a_slice_network_responds_the_same_in_a_volume_of_equal_slices(kernel: tuple[int, ...]) -> None:
    weight, image = random(4, 2, 3, 3), random(1, 2, 9, 8, seed=1)
    adapted, rules = fitted(weight, 4, 2, *kernel)
    volume = response(image[:, :, None].expand(-1, -1, 7, -1, -1), adapted)
    torch.testing.assert_close(volume[:, :, 3], response(image, weight))
    assert rules == f"2D to 3D, repeated {kernel[0]} times"
    back, rules = fitted(adapted, 4, 2, 3, 3)
    torch.testing.assert_close(back, weight)
    assert rules == "3D to 2D, summed"


def test_everything_at_once() -> None:
    """One channel and slices, into four channels and volumes with a larger kernel."""
    weight, image = random(4, 1, 3, 3), random(1, 1, 11, 11, seed=1)
    adapted, rules = fitted(weight, 4, 4, 3, 5, 5, image_channels=4)
    volume = response(image[:, :, None].expand(-1, 4, 7, -1, -1), adapted)
    torch.testing.assert_close(volume[:, :, 3], response(image, weight))
    assert rules == "input channels 1 to 4; 2D to 3D, repeated 3 times; kernel 3x3x3 to 3x5x5"


def test_other_widths_need_permission_and_take_leading_channels() -> None:
    weight, target = random(6, 4, 3, 3, 3), random(4, 8, 3, 3, 3, seed=1)
    with pytest.raises(MisfitError, match=r"another width: shape \(6, 4, 3, 3, 3\) in the file, \(4, 8, 3, 3, 3\)"):
        fit(weight, target, is_convolution=True)
    result = fit(weight, target, is_convolution=True, allow_partial=True)
    assert result.num_random == 4 * 4 * 27
    assert torch.equal(result.values[:, :4], weight[:4])
    assert torch.equal(result.values[:, 4:], target[:, 4:]), "the rest stays as it was"
    assert result.rules == ("leading 4 x 4 channels, the rest stays random",)
    bias = fit(random(6), random(4, seed=1), is_convolution=False, allow_partial=True)
    assert torch.equal(bias.values, random(6)[:4])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ((4, 2, 2, 2, 2), (4, 2, 3, 3, 3), "no common centre"),
        ((4, 2, 3), (4, 2, 3, 3, 3), "shape"),
        ((4,), (5,), "another width"),
        ((4, 2), (4, 2, 1), "shape"),
    ],
)
def test_what_no_rule_covers_is_refused_with_the_reason(
    old: tuple[int, ...], new: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(MisfitError, match=reason):
        fit(random(*old), random(*new), is_convolution=len(old) > 2)


def test_transposed_convolutions_are_not_adapted() -> None:
    with pytest.raises(MisfitError, match="shape"):
        fit(random(4, 2, 2, 2, 2), random(4, 2, 1, 2, 2), is_convolution=False)
