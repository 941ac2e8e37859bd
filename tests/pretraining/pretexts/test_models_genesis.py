"""Models Genesis as a whole: pairs in the data's own units, and a loss that padding never enters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import nn

from nnunet_genesis.config import ModelsGenesisConfig, PretrainingConfig
from nnunet_genesis.pretraining.intensities import IntensityRange
from nnunet_genesis.pretraining.pretexts import build_pretext
from nnunet_genesis.pretraining.pretexts.base import RestorationPairs, restoration_error
from nnunet_genesis.pretraining.pretexts.models_genesis import ModelsGenesis, ModelsGenesisParameters
from tests.planned import MR, planned
from tests.pretraining.distortions import reference

LOW, HIGH = -1.5, 3.0
REAL_LIFE = [
    (1, (16, 256, 256)),
    (1, (40, 56, 40)),
    (4, (32, 32, 32)),
    (4, (96, 80)),
    (1, (3, 5, 4)),
    (2, (1, 32, 32)),
]
NOTHING = ModelsGenesisConfig(
    mirror_probability=0, shuffling_probability=0, intensity_probability=0, painting_probability=0
)
ALWAYS = ModelsGenesisConfig(
    mirror_probability=0.7, shuffling_probability=1, intensity_probability=1, painting_probability=1
)
ROUNDING = 1e-5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def genesis(config: ModelsGenesisConfig, sides: tuple[int, ...], channels: int = 1) -> ModelsGenesis:
    return ModelsGenesis(config, sides, IntensityRange((LOW,) * channels, (HIGH,) * channels, (False,) * channels))


def clean(batch_size: int, channels: int, sides: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Skewed like z-scored images: from -1.5 up, most below 1, some above 3."""
    uniform = torch.rand(batch_size, channels, *sides, generator=generator(seed))
    return LOW - 1.5 * torch.log1p(-uniform * 0.98)


def full(patches: torch.Tensor) -> torch.Tensor:
    """No padding: every voxel of every sample lies inside its case."""
    return torch.tensor([[0, side] for side in patches.shape[2:]]).expand(len(patches), -1, -1)


def some_padding(batch_size: int, sides: tuple[int, ...], seed: int) -> torch.Tensor:
    """Padding on both sides of every axis, as far as it carries it, different in every sample."""
    fraction = torch.rand(batch_size, len(sides), 2, generator=generator(seed), dtype=torch.float64) * 0.4
    side = torch.tensor(sides)
    return torch.stack([(fraction[..., 0] * side).long(), side - (fraction[..., 1] * side).long()], dim=-1)


def weight_of(inside: torch.Tensor, sides: tuple[int, ...]) -> torch.Tensor:
    """The same in voxels."""
    weight = torch.zeros(len(inside), 1, *sides)
    for sample, box in enumerate(inside.tolist()):
        weight[sample, 0][tuple(slice(start, stop) for start, stop in box)] = 1
    return weight


def flipped(patches: torch.Tensor, parameters: ModelsGenesisParameters) -> npt.NDArray[np.float32]:
    """The mirroring again, in numpy."""
    samples = []
    for patch, mirrored in zip(patches.numpy(), parameters.mirroring.mirrored.tolist(), strict=True):
        axes = tuple(1 + axis for axis, reverse in enumerate(mirrored) if reverse)
        samples.append(np.flip(patch, axis=axes))
    return np.stack(samples)


def painted(parameters: ModelsGenesisParameters, sample: int, sides: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    painting = parameters.painting
    boxes = reference.used_boxes(painting.starts[sample].tolist(), painting.sizes[sample].tolist())
    return reference.painted(sides, boxes, outside=bool(painting.outside[sample]))


def weights_with_padding(batch_size: int, sides: tuple[int, ...]) -> torch.Tensor:
    """Zero at the end of the last axis, a different share in each sample."""
    weight = torch.ones(batch_size, 1, *sides)
    for sample in range(batch_size):
        weight[sample, ..., sides[-1] - 1 - sample :] = 0
    return weight


@pytest.mark.parametrize(("channels", "sides"), REAL_LIFE)
def test_pairs_of_real_sizes_have_the_clean_mirrored_patch_as_target(channels: int, sides: tuple[int, ...]) -> None:
    patches = clean(3, channels, sides)
    inside = some_padding(3, sides, 30)
    before = patches.clone(), inside.clone()
    pretext = genesis(ALWAYS, sides, channels)
    parameters = pretext.sample(3, generator(1))
    pairs = pretext.make_pairs(patches, inside, parameters)
    assert parameters.mirroring.mirrored.any()
    np.testing.assert_array_equal(pairs.target.numpy(), flipped(patches, parameters))
    np.testing.assert_array_equal(pairs.weight.numpy(), flipped(weight_of(inside, sides), parameters))
    assert pairs.distorted.shape == patches.shape
    assert pairs.distorted.dtype == torch.float32
    assert torch.isfinite(pairs.distorted).all()
    assert (pairs.distorted != pairs.target).flatten(1).any(1).all()
    assert torch.equal(patches, before[0])
    assert torch.equal(inside, before[1])
    losses = pretext.restoration_losses(pairs.distorted, pairs)
    assert list(losses) == ["restoration"]
    assert losses["restoration"].shape == (3,)
    assert (losses["restoration"] > 0).all()


@pytest.mark.parametrize(("channels", "sides"), REAL_LIFE[1:])
def test_distorted_values_stay_in_the_range_of_the_patch_or_its_inversion(
    channels: int, sides: tuple[int, ...]
) -> None:
    """Noise and curves map [lo, hi] onto itself; an inverted curve maps the excess above hi to below lo."""
    pretext = genesis(ALWAYS, sides, channels)
    inside = clean(8, channels, sides).clamp(LOW, HIGH)
    distorted = pretext.make_pairs(inside, full(inside), pretext.sample(8, generator(2))).distorted
    assert distorted.min() >= LOW - ROUNDING
    assert distorted.max() <= HIGH + ROUNDING
    beyond = clean(8, channels, sides)
    excess = max(beyond.max().item() - HIGH, LOW - beyond.min().item(), 0.0)
    assert excess > 0
    distorted = pretext.make_pairs(beyond, full(beyond), pretext.sample(8, generator(3))).distorted
    assert distorted.min() >= LOW - excess - ROUNDING
    assert distorted.max() <= HIGH + excess + ROUNDING


def test_the_same_seed_gives_the_same_pair_and_another_seed_another() -> None:
    sides = (24, 32, 20)
    patches = clean(4, 2, sides)
    pretext = genesis(ModelsGenesisConfig(), sides, 2)
    first, again, other = (
        pretext.make_pairs(patches, full(patches), pretext.sample(4, generator(seed))) for seed in (4, 4, 5)
    )
    assert torch.equal(first.distorted, again.distorted)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.distorted, other.distorted)


def test_making_pairs_is_a_pure_function_of_patches_and_parameters() -> None:
    sides = (24, 32, 20)
    patches = clean(4, 1, sides)
    pretext = genesis(ALWAYS, sides)
    parameters = pretext.sample(4, generator(6))
    torch.manual_seed(0)
    first = pretext.make_pairs(patches, full(patches), parameters)
    torch.manual_seed(1)
    second = pretext.make_pairs(patches, full(patches), parameters, random_device=torch.device("cpu"))
    assert torch.equal(first.distorted, second.distorted)
    state = torch.get_rng_state()
    pretext.make_pairs(patches, full(patches), pretext.sample(4, generator(7)))
    assert torch.equal(torch.get_rng_state(), state), "the global random numbers are left alone"


def test_noise_spans_the_range_of_the_data_not_the_unit_interval() -> None:
    sides = (32, 32, 32)
    patches = torch.full((8, 2, *sides), 100.0)
    intensities = IntensityRange((LOW, -4.0), (HIGH, 0.5), (False, False))
    pretext = ModelsGenesis(replace(NOTHING, painting_probability=1, outpainting_probability=1), sides, intensities)
    parameters = pretext.sample(8, generator(8))
    distorted = pretext.make_pairs(patches, full(patches), parameters).distorted
    for channel, (low, high) in enumerate([(LOW, HIGH), (-4.0, 0.5)]):
        noise = np.concatenate([distorted[s, channel][painted(parameters, s, sides)].numpy() for s in range(8)])
        assert noise.min() == pytest.approx(low, abs=0.01 * (high - low))
        assert noise.max() == pytest.approx(high, abs=0.01 * (high - low))
        assert stats.kstest(noise, "uniform", args=(low, high - low)).pvalue > 1e-3


def test_painting_comes_last_so_that_noise_is_neither_shuffled_nor_mapped() -> None:
    sides = (40, 40, 20)
    patches = clean(12, 2, sides)
    pretext = genesis(ALWAYS, sides, 2)
    parameters = pretext.sample(12, generator(9))
    without = replace(parameters, painting=replace(parameters.painting, applied=torch.zeros(12, dtype=torch.bool)))
    distorted = pretext.make_pairs(patches, full(patches), parameters).distorted
    unpainted = pretext.make_pairs(patches, full(patches), without).distorted
    noise = []
    for sample in range(12):
        mask = painted(parameters, sample, sides)
        assert torch.equal(distorted[sample][:, ~mask], unpainted[sample][:, ~mask])
        noise.append(distorted[sample][:, mask].flatten())
    assert stats.kstest(torch.cat(noise).numpy()[::7], "uniform", args=(LOW, HIGH - LOW)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("config", "switch"),
    [
        (replace(NOTHING, mirror_probability=0.9), "mirroring"),
        (replace(NOTHING, shuffling_probability=1), "shuffling"),
        (replace(NOTHING, intensity_probability=1), "intensity"),
        (replace(NOTHING, painting_probability=1), "painting"),
    ],
    ids=["mirroring", "shuffling", "intensity", "painting"],
)
def test_each_probability_governs_its_own_distortion(config: ModelsGenesisConfig, switch: str) -> None:
    sides = (32, 32, 32)
    patches = clean(8, 2, sides)
    pretext = genesis(config, sides, 2)
    parameters = pretext.sample(8, generator(10))
    happened = {
        "mirroring": bool(parameters.mirroring.mirrored.any()),
        "shuffling": bool(parameters.shuffling.applied.any()),
        "intensity": bool(parameters.intensity.applied.any()),
        "painting": bool(parameters.painting.applied.any()),
    }
    assert [name for name, does in happened.items() if does] == [switch]
    pairs = pretext.make_pairs(patches, full(patches), parameters)
    assert torch.equal(pairs.target, patches) == (switch != "mirroring")
    changed = (pairs.distorted - pairs.target).abs().flatten(1).amax(1) > ROUNDING
    assert changed.any() == (switch != "mirroring")
    if switch == "shuffling":
        sorted_pair = (values.flatten(2).sort(dim=2).values for values in (pairs.distorted, pairs.target))
        torch.testing.assert_close(*sorted_pair, rtol=0, atol=ROUNDING)


def test_without_any_distortion_the_input_is_the_target_up_to_rounding() -> None:
    patches = clean(4, 2, (16, 16, 16))
    pretext = genesis(NOTHING, (16, 16, 16), 2)
    pairs = pretext.make_pairs(patches, full(patches), pretext.sample(4, generator(11)))
    assert torch.equal(pairs.target, patches)
    torch.testing.assert_close(pairs.distorted, patches, rtol=0, atol=ROUNDING)


def test_sizes_of_the_configuration_reach_the_sampled_parameters() -> None:
    sides = (160, 160, 160)
    wide = genesis(replace(ALWAYS, shuffling_max_window_voxels=16), sides).sample(100, generator(12))
    narrow = genesis(replace(ALWAYS, shuffling_max_window_voxels=3), sides).sample(100, generator(12))
    assert wide.shuffling.windows.max() == 16
    assert narrow.shuffling.windows.max() == 3
    covered = genesis(replace(ALWAYS, shuffling_coverage=0.25), sides).sample(2, generator(13))
    assert covered.shuffling.coverage.tolist() == [0.25, 0.25]
    inside = genesis(replace(ALWAYS, outpainting_probability=0), sides).sample(50, generator(14))
    assert not inside.painting.outside.any()


def test_the_default_configuration_has_the_published_probabilities() -> None:
    """0.368 of the patches are mirrored: 0.4 minus the pairs of flips that cancel, 0.4^2 * 0.6 / 3."""
    parameters = genesis(ModelsGenesisConfig(), (32, 32, 32)).sample(4000, generator(15))
    observed = {
        "mirroring": (parameters.mirroring.mirrored.any(1), 0.368),
        "shuffling": (parameters.shuffling.applied, 0.5),
        "intensity": (parameters.intensity.applied, 0.9),
        "painting": (parameters.painting.applied, 0.9),
        "out-painting": (parameters.painting.outside, 0.8),
    }
    for name, (happened, published) in observed.items():
        tolerance = 4 * (published * (1 - published) / 4000) ** 0.5
        assert happened.double().mean().item() == pytest.approx(published, abs=tolerance), name


def test_descriptions_name_what_was_done_to_each_sample() -> None:
    parameters = genesis(ModelsGenesisConfig(), (24, 24, 24)).sample(5, generator(16))
    yes = torch.tensor([False, True, False, True, True])
    parameters = replace(
        parameters,
        shuffling=replace(parameters.shuffling, applied=torch.tensor([False, True, False, True, False])),
        intensity=replace(
            parameters.intensity,
            applied=torch.tensor([False, False, True, True, False]),
            decreasing=torch.tensor([[True], [True], [False], [True], [False]]),
        ),
        painting=replace(parameters.painting, applied=yes, outside=torch.tensor([True, True, True, False, False])),
    )
    assert genesis(ALWAYS, (24, 24, 24)).describe(parameters) == [
        "undistorted",
        "shuffled, out-painted",
        "non-linear",
        "shuffled, inverted, in-painted",
        "in-painted",
    ]


def test_the_pretext_named_by_the_configuration_is_built_with_its_settings() -> None:
    config = PretrainingConfig("models-genesis", batch_size=2, models_genesis=NOTHING)
    intensities = IntensityRange((0.0,), (1.0,), (False,))
    plans = planned(MR)
    pretext = build_pretext(config, plans, intensities)
    assert isinstance(pretext, ModelsGenesis)
    assert pretext.config is NOTHING
    assert pretext.patch_size == plans.patch_size
    assert pretext.intensities is intensities
    assert any("1908.06912" in citation for citation in pretext.citations)


def random_pairs(batch_size: int, channels: int, sides: tuple[int, ...], weight: torch.Tensor) -> RestorationPairs:
    return RestorationPairs(
        distorted=torch.randn(batch_size, channels, *sides, generator=generator(20)),
        target=torch.randn(batch_size, channels, *sides, generator=generator(21)),
        weight=weight,
    )


@pytest.mark.parametrize(("channels", "sides"), [(1, (6, 7, 8)), (3, (6, 7, 8)), (2, (9, 8))])
def test_restoration_error_is_the_mean_over_channels_and_voxels_that_count(
    channels: int, sides: tuple[int, ...]
) -> None:
    pairs = random_pairs(3, channels, sides, weights_with_padding(3, sides))
    output = torch.randn(3, channels, *sides, generator=generator(22))
    expected = []
    for sample in range(3):
        counts = pairs.weight[sample, 0].numpy() > 0
        assert 0 < counts.mean() < 1
        errors = [
            (float(value) - float(wanted)) ** 2
            for channel in range(channels)
            for value, wanted in zip(
                output[sample, channel].numpy()[counts], pairs.target[sample, channel].numpy()[counts], strict=True
            )
        ]
        expected.append(sum(errors) / len(errors))
    np.testing.assert_allclose(restoration_error(output, pairs).numpy(), expected, rtol=1e-5)


def test_fractional_weights_give_the_weighted_mean() -> None:
    pairs = random_pairs(2, 2, (4, 5, 6), torch.rand(2, 1, 4, 5, 6, generator=generator(23)))
    output = torch.randn(2, 2, 4, 5, 6, generator=generator(24))
    squared = (output - pairs.target).double().numpy() ** 2
    expected = [np.average(squared[s].mean(axis=0), weights=pairs.weight[s, 0].double().numpy()) for s in range(2)]
    np.testing.assert_allclose(restoration_error(output, pairs).numpy(), expected, rtol=1e-5)


def test_a_perfect_output_has_no_error_and_a_constant_miss_its_square() -> None:
    pairs = random_pairs(2, 2, (4, 5, 6), weights_with_padding(2, (4, 5, 6)))
    assert restoration_error(pairs.target.clone(), pairs).tolist() == [0, 0]
    np.testing.assert_allclose(restoration_error(pairs.target + 3, pairs).numpy(), [9, 9], rtol=1e-5)


def test_padding_never_enters_the_loss() -> None:
    sides = (6, 7, 8)
    weight = weights_with_padding(2, sides)
    pairs = random_pairs(2, 2, sides, weight)
    output = torch.randn(2, 2, *sides, generator=generator(25))
    padding = weight == 0
    expected = restoration_error(output, pairs)
    elsewhere = replace(pairs, target=torch.where(padding, torch.full_like(pairs.target, 1e6), pairs.target))
    assert torch.equal(restoration_error(output, elsewhere), expected)
    assert torch.equal(restoration_error(torch.where(padding, torch.full_like(output, -1e6), output), pairs), expected)
    counted = torch.where(padding, output, output + 1)
    assert not torch.equal(restoration_error(counted, pairs), expected)


def test_padding_has_no_gradient() -> None:
    sides = (6, 7, 8)
    pairs = random_pairs(2, 2, sides, weights_with_padding(2, sides))
    output = torch.randn(2, 2, *sides, generator=generator(26)).requires_grad_()
    (gradient,) = torch.autograd.grad(restoration_error(output, pairs).sum(), output)
    padding = (pairs.weight == 0).expand_as(output)
    assert (gradient[padding] == 0).all()
    assert (gradient[~padding] != 0).all()


def test_a_fully_padded_patch_has_loss_and_gradient_zero() -> None:
    weight = torch.ones(2, 1, 4, 4, 4)
    weight[0] = 0
    pairs = random_pairs(2, 1, (4, 4, 4), weight)
    output = torch.randn(2, 1, 4, 4, 4, generator=generator(27)).requires_grad_()
    losses = restoration_error(output, pairs)
    (gradient,) = torch.autograd.grad(losses.mean(), output)
    assert losses[0] == 0
    assert losses[1] > 0
    assert (gradient[0] == 0).all()
    assert (gradient[1] != 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_loss_of_a_half_precision_output_is_taken_in_single_precision(dtype: torch.dtype) -> None:
    pairs = random_pairs(2, 1, (8, 8, 8), torch.ones(2, 1, 8, 8, 8))
    output = torch.randn(2, 1, 8, 8, 8, generator=generator(28)).to(dtype)
    error = restoration_error(output, pairs)
    assert error.dtype == torch.float32
    expected = ((output.double() - pairs.target.double()) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(error.double(), expected, rtol=1e-5, atol=0)


def test_the_gradient_of_the_batch_mean_is_the_mean_of_the_gradients_of_its_samples() -> None:
    """With padding that differs between the samples; this is what distributed training relies on."""
    sides = (12, 10, 8)
    patches = clean(4, 2, sides)
    inside = some_padding(4, sides, 28)
    pretext = genesis(ALWAYS, sides, 2)
    parameters = pretext.sample(4, generator(29))
    torch.manual_seed(0)
    network = nn.Conv3d(2, 2, 3, padding=1).double()

    def gradient(part: slice) -> torch.Tensor:
        pairs = pretext.make_pairs(patches[part], inside[part], parameters.select(part))
        losses = pretext.restoration_losses(network(pairs.distorted.double()), pairs)
        gradients = torch.autograd.grad(losses["restoration"].mean(), list(network.parameters()))
        return torch.cat([values.flatten() for values in gradients])

    samples = torch.stack([gradient(slice(sample, sample + 1)) for sample in range(4)])
    assert (samples.std(0) > 0).any()
    torch.testing.assert_close(gradient(slice(None)), samples.mean(0), rtol=1e-4, atol=1e-5)


def test_what_overflows_on_padding_is_not_counted() -> None:
    target, weight = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    weight[..., 0] = 0
    output = torch.ones(1, 1, 4, 4)
    output[..., 0] = float("inf")
    output.requires_grad_()
    error = restoration_error(output, RestorationPairs(target, target, weight))
    assert error.tolist() == [1.0]
    error.sum().backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


def test_fractional_weights_give_a_weighted_mean() -> None:
    target, weight = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.25, 0.25], [0.0, 0.0]]]])
    output = torch.tensor([[[[1.0, 3.0], [7.0, 7.0]]]])
    assert restoration_error(output, RestorationPairs(target, target, weight)).item() == pytest.approx(5.0)
