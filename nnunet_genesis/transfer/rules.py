"""How a tensor of one shape is made to fit another, and what is preserved by it.

Every rule keeps a function, not only a shape: what the changed layer computes equals what the original computed, for
the inputs that the rule names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


class MisfitError(ValueError):
    """No rule fits; the message is the reason, for the report."""


@dataclass(frozen=True)
class Fitted:
    """A tensor in its new shape.

    Attributes:
        values: In the target's shape.
        rules: What was done, in order; empty if nothing had to be.
        num_random: Values that no rule filled, where only leading channels were taken.
    """

    values: torch.Tensor
    rules: tuple[str, ...] = ()
    num_random: int = 0


def fit(
    candidate: torch.Tensor,
    target: torch.Tensor,
    *,
    is_convolution: bool,
    image_channels: int | None = None,
    source_image_channels: int | None = None,
    allow_partial: bool = False,
) -> Fitted:
    """Make a tensor fit.

    Args:
        candidate: What the file holds.
        target: What the network holds now; its values stay where `allow_partial` fills only a part.
        is_convolution: Whether it is the weight of a (not transposed) convolution, (out, in, *kernel).
        image_channels: For the first convolution, how many of its input channels are image channels; None elsewhere.
        source_image_channels: The same for the file; all by default.
        allow_partial: Take leading channels where widths differ.

    Raises:
        MisfitError: If no rule applies.
    """
    values, rules = candidate, list[str]()
    if is_convolution and candidate.ndim >= 4 and target.ndim >= 4:
        if image_channels is not None:
            values, rules = _fit_input_channels(
                values, source_image_channels or values.shape[1], image_channels, target.shape[1]
            )
        values, kernel_rules = _fit_kernel(values, tuple(target.shape[2:]))
        rules += kernel_rules
    if values.shape == target.shape:
        return Fitted(values.to(target.dtype), tuple(rules))
    if values.ndim != target.ndim or values.shape[2:] != target.shape[2:]:
        raise MisfitError(f"shape {tuple(candidate.shape)} in the file, {tuple(target.shape)} in the network")
    if not allow_partial:
        raise MisfitError(
            f"another width: shape {tuple(candidate.shape)} in the file, {tuple(target.shape)} in the network"
        )
    leading = tuple(slice(0, min(a, b)) for a, b in zip(values.shape, target.shape, strict=True))
    result = target.detach().clone()
    result[leading] = values[leading].to(target.dtype)
    counts = " x ".join(str(part.stop) for part in leading[:2])
    num_random = result.numel() - result[leading].numel()
    return Fitted(result, (*rules, f"leading {counts} channels, the rest stays random"), num_random)


def _fit_input_channels(
    weight: torch.Tensor, old: int, image_channels: int, all_channels: int
) -> tuple[torch.Tensor, list[str]]:
    """Change the number of image channels from `old`, and add or leave out channels that are not images.

    With the sum over the old channels divided among the new ones, the response is the same wherever all channels are
    equal. Channels beyond the images (the previous stage of a cascade, one-hot) start at zero: the first response is
    that of the images alone. Where the file has as many of both, nothing is changed: it may be the same cascade.
    """
    rules: list[str] = []
    if (old, weight.shape[1]) == (image_channels, all_channels):
        return weight, rules
    if weight.shape[1] > old:
        rules.append(f"{weight.shape[1] - old} channels of the previous stage in the file left out")
        weight = weight[:, :old]
    if old != image_channels:
        weight = weight.sum(1, keepdim=True).expand(-1, image_channels, *weight.shape[2:]) / image_channels
        rules.append(f"input channels {old} to {image_channels}")
    extra = all_channels - image_channels
    if extra:
        zeros = weight.new_zeros(weight.shape[0], extra, *weight.shape[2:])
        weight = torch.cat([weight, zeros], dim=1)
        rules.append(f"{extra} channels of the previous stage start at zero")
    return weight, rules


def _fit_kernel(weight: torch.Tensor, kernel: tuple[int, ...]) -> tuple[torch.Tensor, list[str]]:
    """Change the kernel of a convolution (out, in, *kernel).

    - 2D to 3D: repeated along the new first axis and divided, so that the response to images that are constant along
      it stays the same; 3D to 2D: the sum over that axis.
    - A longer axis: zeros on both sides, exactly the same function.
    - A shorter axis: outer taps are added to the last one that stays (all of them, for a single tap), so that the
      response to images that are constant along it stays the same.
    """
    rules = []
    if weight.ndim == len(kernel) + 1:
        weight = weight[:, :, None].repeat_interleave(kernel[0], dim=2) / kernel[0]
        rules.append(f"2D to 3D, repeated {kernel[0]} times")
    elif weight.ndim == len(kernel) + 3:
        weight = weight.sum(2)
        rules.append("3D to 2D, summed")
    if weight.ndim != len(kernel) + 2:
        raise MisfitError(f"a kernel of {weight.ndim - 2} axes in the file, {len(kernel)} in the network")
    before = tuple(weight.shape[2:])
    for axis, (old, new) in enumerate(zip(before, kernel, strict=True), start=2):
        if old == new:
            continue
        if (old - new) % 2:
            raise MisfitError(f"kernel {before} in the file, {kernel} in the network: no common centre")
        side = abs(old - new) // 2
        weight = _lengthen(weight, axis, side) if new > old else _shorten(weight, axis, side)
    if tuple(weight.shape[2:]) != before:
        rules.append(f"kernel {_product(before)} to {_product(kernel)}")
    return weight, rules


def _lengthen(weight: torch.Tensor, axis: int, side: int) -> torch.Tensor:
    zeros = weight.new_zeros(*weight.shape[:axis], side, *weight.shape[axis + 1 :])
    return torch.cat([zeros, weight, zeros], dim=axis)


def _shorten(weight: torch.Tensor, axis: int, side: int) -> torch.Tensor:
    length = weight.shape[axis]
    inner = weight.narrow(axis, side, length - 2 * side).clone()
    inner.narrow(axis, 0, 1).add_(weight.narrow(axis, 0, side).sum(axis, keepdim=True))
    inner.narrow(axis, inner.shape[axis] - 1, 1).add_(weight.narrow(axis, length - side, side).sum(axis, keepdim=True))
    return inner


def _product(sides: tuple[int, ...]) -> str:
    return "x".join(map(str, sides))
